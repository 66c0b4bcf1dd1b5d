-- Notes something about a running job. ARGV: events to keep, job, state, `p` or `x`, value.
-- Answers 1, or 0 when it is in another state.
if call('HGET', K .. ':at', ARGV[2]) ~= ARGV[3] then return 0 end
call('HSET', K .. ':note', ARGV[2] .. '/' .. ARGV[4], ARGV[5])
if ARGV[4] == 'p' then event(ARGV[1], 'progress', { ARGV[2] }, ARGV[5]) end
return 1
