-- ARGV: job. Answers it, and what its attempts told; or nothing.
local seen = read_job('', ARGV[1])
if not seen then return nil end
return { seen, call('HGET', K .. ':told', ARGV[1]) or '' }
