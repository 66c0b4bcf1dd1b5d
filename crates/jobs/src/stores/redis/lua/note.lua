-- Notes the progress of a running job, or without one that it is called off. ARGV: events to keep,
-- job, state, progress. Answers 1, or 0 when it is in another state.
if call('HGET', K .. ':at', ARGV[2]) ~= ARGV[3] then return 0 end
sound('XLEN', ':ev')
if ARGV[4] then
  call('HSET', K .. ':note', ARGV[2], ARGV[4])
  event(ARGV[1], 'progress', { ARGV[2] }, ARGV[4])
else
  call('SADD', K .. ':off', ARGV[2])
end
return 1
