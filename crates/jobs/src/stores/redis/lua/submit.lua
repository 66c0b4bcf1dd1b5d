-- Takes jobs in. ARGV: events to keep; how many plain jobs of priority 1 … 5; those, packed; then
-- for each other job: priority, delay in ms, packed job, key (or empty), fingerprint, the key's
-- time in ms. Answers for the others, in order: 0 taken, or `<fingerprint> <job>` of who has the key.
-- A job that is known was sent again by a client that did not hear the answer: nothing happens.
local keep = ARGV[1]
local plain = 7
for p = 1, 5 do plain = plain + tonumber(ARGV[p + 1]) end
local all = {}
for arg = 7, plain - 1 do all[#all + 1] = id_of(ARGV[arg]) end
for arg = plain, #ARGV, 6 do all[#all + 1] = id_of(ARGV[arg + 2]) end
local known = call('HMGET', K .. ':at', unpack(all))

local states, ids = {}, {}
local at = 7
for p = 1, 5 do
  local stream = K .. ':q' .. p
  for _ = 1, tonumber(ARGV[p + 1]) do
    local id = all[at - 6]
    if not known[at - 6] then
      local n = #ids + 1
      ids[n] = id
      states[2 * n - 1] = id
      states[2 * n] = 'q' .. p .. ':' .. call('XADD', stream, '*', 'j', ARGV[at])
    end
    at = at + 1
  end
end
local answers, late = {}, {}
for n = plain - 6, #all do
  local p, wait, packed, key, print, ttl = unpack(ARGV, at, at + 5)
  local id = all[n]
  local taken = not known[n] and key ~= '' and call('GET', K .. ':i:' .. key)
  if known[n] then
    answers[#answers + 1] = 0
  elseif taken then
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
