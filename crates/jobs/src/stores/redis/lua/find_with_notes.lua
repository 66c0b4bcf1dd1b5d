-- ARGV: job. Answers it, and its progress messages; or nothing.
local seen = read_job('', ARGV[1])
if not seen then return nil end
return { seen, call('HGET', K .. ':told', ARGV[1]) or '' }
