-- Takes jobs in. ARGV: events to keep; for how many ms a key is known; how many plain jobs of
-- priority 1 … 5; those, packed; then for each other job: priority, delay in ms, packed job, key (or
-- empty), fingerprint. Answers for the others, in order: 0 taken, or `<fingerprint> <job>` of who has
-- the key; then the places of all jobs that are known, from 1. One of those was sent again, by a client
-- that did not hear the answer or that chose its id: nothing happens.
local keep, ttl = ARGV[1], tonumber(ARGV[2])
local plain = 8
for p = 1, 5 do plain = plain + tonumber(ARGV[p + 2]) end
local all, keys = {}, {}
for arg = 8, plain - 1 do all[arg - 7] = name_of(ARGV[arg]) end
local count = plain - 8
for arg = plain, #ARGV, 5 do
  count = count + 1
  all[count] = name_of(ARGV[arg + 2])
  keys[count - plain + 8] = ARGV[arg + 3]
end
local known = call('HMGET', K .. ':at', unpack(all))
local holders = #keys > 0 and call('HMGET', K .. ':keys', unpack(keys))

local states, ids, line, came, again = {}, {}, {}, 0, {}
call('XLEN', K .. ':ev')
for p = 1, 5 do
  line[tostring(p)] = K .. ':q' .. p
  if ARGV[p + 2] ~= '0' or #keys > 0 then call('XLEN', K .. ':q' .. p) end
end
if #keys > 0 then
  assert_types('ZCARD', ':zs')
  assert_types('XLEN', ':wake', ':keyed')
end
local at = 8
for p = 1, 5 do
  local stream = K .. ':q' .. p
  for _ = 1, tonumber(ARGV[p + 2]) do
    local id = all[at - 7]
    if not known[at - 7] then
      came = came + 1
      ids[came] = id
      states[2 * came - 1] = id
      states[2 * came] = 'q' .. p .. ':' .. call('XADD', stream, '*', 'j', ARGV[at])
    else
      again[#again + 1] = at - 7
    end
    at = at + 1
  end
end
local answers, late, delayed = {}, {}, 0
local held, set, spent, claimed, stamp = {}, {}, {}, 0, text(now) .. ' '
for n = plain - 7, #all do
  local p, wait, packed, key = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local id, taken, other = all[n], nil, n - plain + 8
  local holder = key ~= '' and (held[key] or holders[other])
  if holder then
    local since, who = match(holder, '^(%d+) (.*)$')
    if tonumber(since) + ttl > now then taken = who end
  end
  if known[n] then
    answers[other] = 0
    again[#again + 1] = n
  elseif taken then
    answers[other] = taken
  else
    if key ~= '' then
      local holds = stamp .. ARGV[at + 4] .. ' ' .. id
      claimed = claimed + 2
      held[key] = holds
      set[claimed - 1], set[claimed] = key, holds
      spent[claimed - 1], spent[claimed] = key, ''
    end
    local state
    if wait == '0' then
      came = came + 1
      ids[came] = id
      state = 'q' .. p .. ':' .. call('XADD', line[p], '*', 'j', packed)
    else
      delayed = delayed + 1
      late[delayed] = id
      state = delay('s', p, id, now + tonumber(wait), packed)
    end
    local slot = 2 * (came + delayed)
    states[slot - 1], states[slot] = id, state
    answers[other] = 0
  end
  at = at + 5
end
if #set > 0 then
  call('HSET', K .. ':keys', unpack(set))
  call('XADD', K .. ':keyed', '*', unpack(spent))
end
if #states > 0 then call('HSET', K .. ':at', unpack(states)) end
ids, late = joined(ids), joined(late)
append_ids(ids, late)
event(keep, 'queued', ids)
event(keep, 'scheduled', late)
for _, n in ipairs(again) do answers[#answers + 1] = n end
return answers
