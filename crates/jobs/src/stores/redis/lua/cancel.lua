-- Notes that running jobs are cancelled. ARGV: {job, state}…. Answers a text of one character a job:
-- 1 noted, 0 in another state.
local ids, off, answer = {}, {}, {}
for arg = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[arg] end
local states = call('HMGET', K .. ':at', unpack(ids))
for n, id in ipairs(ids) do
  local is = states[n] == ARGV[2 * n]
  if is then off[#off + 1] = id end
  answer[n] = is and '1' or '0'
end
if #off > 0 then call('SADD', K .. ':off', unpack(off)) end
return table.concat(answer)
