-- Takes jobs in. ARGV: events to keep; for how many ms a key is known; how many plain jobs of
-- priority 1 … 5; those, packed; then for each other job: priority, delay in ms, packed job, key (or
-- empty), fingerprint. Answers for the others, in order: 0 taken, or `<fingerprint> <job>` of who has
-- the key. A job that is known was sent again by a client that did not hear the answer: nothing happens.
local keep, ttl = ARGV[1], tonumber(ARGV[2])
local plain = 8
for p = 1, 5 do plain = plain + tonumber(ARGV[p + 2]) end
local all, keys = {}, {}
for arg = 8, plain - 1 do all[#all + 1] = name_of(ARGV[arg]) end
for arg = plain, #ARGV, 5 do
  all[#all + 1] = name_of(ARGV[arg + 2])
  keys[#keys + 1] = ARGV[arg + 3]
end
local known = call('HMGET', K .. ':at', unpack(all))
local holders = #keys > 0 and call('HMGET', K .. ':keys', unpack(keys))

local states, ids, line = {}, {}, {}
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
      local n = #ids + 1
      ids[n] = id
      states[2 * n - 1] = id
      states[2 * n] = 'q' .. p .. ':' .. call('XADD', stream, '*', 'j', ARGV[at])
    end
    at = at + 1
  end
end
local answers, late = {}, {}
local held, set, spent, stamp = {}, {}, {}, text(now) .. ' '
for n = plain - 7, #all do
  local p, wait, packed, key, print = unpack(ARGV, at, at + 4)
  local id, taken = all[n], nil
  local holder = key ~= '' and (held[key] or holders[#answers + 1])
  if holder then
    local since, who = string.match(holder, '^(%d+) (.*)$')
    if tonumber(since) + ttl > now then taken = who end
  end
  if known[n] then
    answers[#answers + 1] = 0
  elseif taken then
    answers[#answers + 1] = taken
  else
    if key ~= '' then
      held[key] = stamp .. print .. ' ' .. id
      set[#set + 1] = key
      set[#set + 1] = held[key]
      spent[#spent + 1] = key
      spent[#spent + 1] = ''
    end
    states[#states + 1] = id
    if wait == '0' then
      ids[#ids + 1] = id
      states[#states + 1] = 'q' .. p .. ':' .. call('XADD', line[p], '*', 'j', packed)
    else
      late[#late + 1] = id
      states[#states + 1] = delay('s', p, id, now + tonumber(wait), packed)
    end
    answers[#answers + 1] = 0
  end
  at = at + 5
end
if #set > 0 then
  call('HSET', K .. ':keys', unpack(set))
  call('XADD', K .. ':keyed', '*', unpack(spent))
end
if #states > 0 then call('HSET', K .. ':at', unpack(states)) end
append_ids(ids, late)
event(keep, 'queued', ids)
event(keep, 'scheduled', late)
return answers
