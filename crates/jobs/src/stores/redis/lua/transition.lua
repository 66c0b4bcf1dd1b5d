-- Moves jobs between states. ARGV: events to keep; how many to succeed, to cancel, to dead-letter, to
-- queue, to delay as failed, to delay as scheduled; then those: {job, state, new state}, the same,
-- {job, state, packed}, {job, state, packed, priority}, {job, state, packed, priority, delay in ms}
-- twice; then for each that leaves a completion {its number among these, tag, the entry or empty: its
-- new state}.
-- Answers a text of one character a job: 1 done, 0 in another state, 2 cancelled.
local keep = ARGV[1]
local width = { 3, 3, 3, 4, 5, 5 }
local ids, from, group, where = {}, {}, {}, {}
local arg, count = 8, 0
for g = 1, 6 do
  for _ = 1, tonumber(ARGV[g + 1]) do
    count = count + 1
    ids[count], from[count], group[count], where[count] = ARGV[arg], ARGV[arg + 1], g, arg + 2
    arg = arg + width[g]
  end
end

local states = call('HMGET', K .. ':at', unpack(ids))
local noted, called_off = call('HLEN', K .. ':note') > 0, call('SCARD', K .. ':off') > 0
call('XLEN', K .. ':ev')
if ARGV[2] ~= '0' or ARGV[3] ~= '0' then
  call('XLEN', K .. ':end')
  call('HLEN', K .. ':sum')
end
if tonumber(ARGV[5]) > 0 then assert_types('XLEN', ':q1', ':q2', ':q3', ':q4', ':q5') end
if tonumber(ARGV[6]) + tonumber(ARGV[7]) > 0 then assert_types('XLEN', ':wake') end
for note = arg, #ARGV, 3 do call('XLEN', K .. ':done:' .. ARGV[note + 1]) end
local leave = { {}, {}, {}, {}, {} } -- entries to take out of the streams
local gone = { s = {}, f = {}, D = {} } -- members to take out of the sorted sets
local set, notes, seen, ended, dead_letters, queued, failed, scheduled = {}, {}, {}, { {}, {} }, {}, {}, {}, {}
local letter = { [68] = 'D', [102] = 'f', [113] = 'q', [114] = 'r', [115] = 's' }
local answer, sums = {}, { 0, 0 }
local later, at = {}, 0
for n, id in ipairs(ids) do
  local state, g = states[n], group[n]
  local kind, p
  if state then
    local first, second = byte(state, 1, 2)
    kind, p = letter[first], second
  end
  local fits = state == from[n] and not seen[id]
  if fits and called_off and kind == 'r' and call('SISMEMBER', K .. ':off', id) == 1 then
    if g > 2 then
      fits, answer[n] = false, '2'
    else
      call('SREM', K .. ':off', id)
    end
  end
  local line = kind and (kind == 'r' or kind == 'q') and leave[p - 48]
  if fits then
    if noted and kind == 'r' then notes[#notes + 1] = id end
    answer[n], seen[id] = '1', true
    if line then
      line[#line + 1] = match(state, '^([^:]+)', 4)
    elseif gone[kind] then
      local list = gone[kind]
      list[#list + 1] = id
    end
    local data = ARGV[where[n]]
    if g <= 2 then
      local sum, all = sums[g] + 1, ended[g]
      sums[g], all[sum] = sum, id
      at = at + 2
      set[at - 1], set[at] = id, data
    else
      later[#later + 1] = n
    end
  elseif not answer[n] then
    answer[n] = '0'
  end
end

for p = 1, 5 do
  if #leave[p] > 0 then call('XLEN', K .. ':q' .. p) end
end
if #gone.s + #gone.f + #gone.D + #later > 0 then assert_types('ZCARD', ':zs', ':zf', ':dead') end
for p = 1, 5 do
  if #leave[p] > 0 then
    call('XACK', K .. ':q' .. p, 'w', unpack(leave[p]))
    call('XDEL', K .. ':q' .. p, unpack(leave[p]))
  end
end
for kind, members in pairs(gone) do
  if #members > 0 then call('ZREM', kind == 'D' and K .. ':dead' or K .. ':z' .. kind, unpack(members)) end
end
if #notes > 0 then call('HDEL', K .. ':note', unpack(notes)) end

for _, n in ipairs(later) do
  local id, g, packed, p, wait = ids[n], group[n], unpack(ARGV, where[n], where[n] + 2)
  set[#set + 1] = id
  if g == 3 then
    set[#set + 1] = 'D' .. packed
    call('ZADD', K .. ':dead', text(now), id)
    dead_letters[#dead_letters + 1] = id
  elseif g == 4 then
    set[#set + 1] = 'q' .. p .. ':' .. call('XADD', K .. ':q' .. p, '*', 'j', packed)
    queued[#queued + 1] = id
  else
    set[#set + 1] = delay(g == 5 and 'f' or 's', p, id, now + tonumber(wait), packed)
    local list = g == 5 and failed or scheduled
    list[#list + 1] = id
  end
end
if #set > 0 then call('HSET', K .. ':at', unpack(set)) end
for g, name in ipairs({ 'succeeded', 'cancelled' }) do
  if sums[g] > 0 then
    call('HINCRBY', K .. ':sum', name, sums[g])
    local done = joined(ended[g])
    call('XADD', K .. ':end', '*', 'i', done, 'k', g)
    event(keep, name, done)
  end
end
event(keep, 'dead', joined(dead_letters))
event(keep, 'queued', joined(queued))
event(keep, 'failed', joined(failed))
event(keep, 'scheduled', joined(scheduled))
for note = arg, #ARGV, 3 do
  local n, entry = tonumber(ARGV[note]), ARGV[note + 2]
  if answer[n] == '1' then
    if entry == '' then entry = ARGV[where[n]] end
    call('XADD', K .. ':done:' .. ARGV[note + 1], '*', 'c', entry)
  end
end
return table.concat(answer)
