-- ARGV: job. Answers it, or nothing.
return read_job('', ARGV[1])
