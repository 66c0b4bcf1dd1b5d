-- Takes jobs in. ARGV: events to keep; how many plain jobs of priority 1 … 5; those, packed; then
-- for each other job: priority, delay in ms, packed job, key (or empty), fingerprint, the key's
-- time in ms. Answers for the others, in order: 0 taken, or `<fingerprint> <job>` of who has the key.
local keep = ARGV[1]
local states, ids = {}, {}
local at = 7
for p = 1, 5 do
  local stream = K .. ':q' .. p
  for _ = 1, tonumber(ARGV[p + 1]) do
    local packed = ARGV[at]
    local id = id_of(packed)
    local n = #ids + 1
    ids[n] = id
    states[2 * n - 1] = id
    states[2 * n] = 'q' .. p .. ':' .. call('XADD', stream, '*', 'j', packed)
    at = at + 1
  end
end
local answers, late = {}, {}
while at < #ARGV do
  local p, wait, packed, key, print, ttl = unpack(ARGV, at, at + 5)
  local id = id_of(packed)
  local taken = key ~= '' and call('GET', K .. ':i:' .. key)
  if taken then
    answers[#answers + 1] = taken
  else
    if key ~= '' then call('SET', K .. ':i:' .. key, print .. ' ' .. id, 'PX', ttl) end
    states[#states + 1] = id
    if wait == '0' then
      ids[#ids + 1] = id
      states[#states + 1] = 'q' .. p .. ':' .. call('XADD', K .. ':q' .. p, '*', 'j', packed)
    else
      late[#late + 1] = id
      states[#states + 1] = delay('s', p, id, now + tonumber(wait), packed)
    end
    answers[#answers + 1] = 0
  end
  at = at + 6
end
if #states > 0 then call('HSET', K .. ':at', unpack(states)) end
event(keep, 'queued', ids)
event(keep, 'scheduled', late)
return answers
