-- ARGV: job. Answers it, or nothing.
return look('', ARGV[1])
