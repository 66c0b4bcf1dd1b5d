-- Starts the time of leases again. ARGV: {job, state}…. Answers a text of one character a lease:
-- 1 held, 2 held and cancelled, 0 ended.
local ids = {}
for arg = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[arg] end
local states = call('HMGET', K .. ':at', unpack(ids))
local off = call('SMISMEMBER', K .. ':off', unpack(ids))
local claim, answer = { {}, {}, {}, {}, {} }, {}
for n = 1, #ids do
  local state = states[n]
  if state and state == ARGV[2 * n] then
    local p, entry = string.match(state, '^r([1-5]):(%d+-%d+)')
    local list = claim[tonumber(p)]
    if list then list[#list + 1] = entry end
    answer[n] = off[n] == 1 and '2' or '1'
  else
    answer[n] = '0'
  end
end
for p = 1, 5 do
  if #claim[p] > 0 then
    local args = claim[p]
    args[#args + 1] = 'JUSTID'
    call('XCLAIM', K .. ':q' .. p, 'w', 'w', 0, unpack(args))
  end
end
return table.concat(answer)
