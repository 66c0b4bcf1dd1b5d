-- Leases jobs. ARGV: events to keep, at most how many, `<nonce>`, `<worker>`, 1 to begin with the
-- lowest priority. Answers: now, then for each priority that had jobs {priority, {entry, fields}…},
-- or when there were none {0, positions of q1 … q5 and wake, next due time or empty}.
local keep, left, nonce, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

for _, kind in ipairs({ 's', 'f' }) do
  local due = call('ZRANGEBYSCORE', K .. ':z' .. kind, '-inf', text(now), 'LIMIT', 0, 256)
  if #due > 0 then
    local waiting = call('HMGET', K .. ':at', unpack(due))
    local states = {}
    for i, id in ipairs(due) do
      local p, packed = string.match(waiting[i], '^.(.):%d+:(.*)$')
      states[2 * i - 1] = id
      states[2 * i] = 'q' .. p .. ':' .. call('XADD', K .. ':q' .. p, '*', 'j', packed)
    end
    call('HSET', K .. ':at', unpack(states))
    call('ZREM', K .. ':z' .. kind, unpack(due))
    event(keep, 'queued', due)
  end
end

local answer, states, ids = { text(now) }, {}, {}
local tail = ':' .. nonce .. ':' .. text(now) .. ':' .. worker
local first, last, step = 5, 1, -1
if ARGV[5] == '1' then first, last, step = 1, 5, 1 end
for p = first, last, step do
  local read = call('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', left, 'STREAMS', K .. ':q' .. p, '>')
  if read then
    local entries = read[1][2]
    for _, entry in ipairs(entries) do
      local id = id_of(entry[2][2])
      ids[#ids + 1] = id
      states[#states + 1] = id
      states[#states + 1] = 'r' .. p .. ':' .. entry[1] .. tail
    end
    answer[#answer + 1] = { p, entries }
    left = left - #entries
    if left == 0 then break end
  end
end
if #ids > 0 then
  call('HSET', K .. ':at', unpack(states))
  event(keep, 'running', ids)
  return answer
end

local positions = {}
-- Whatever comes after the last delivered entry is news, since nothing was left to deliver.
for p = 1, 5 do
  local group = call('XINFO', 'GROUPS', K .. ':q' .. p)[1]
  for f = 1, #group - 1, 2 do
    if group[f] == 'last-delivered-id' then positions[p] = group[f + 1] end
  end
end
local woken = call('XREVRANGE', K .. ':wake', '+', '-', 'COUNT', 1)[1]
positions[6] = woken and woken[1] or '0-0'
local due = ''
for _, kind in ipairs({ 's', 'f' }) do
  local next_due = call('ZRANGE', K .. ':z' .. kind, 0, 0, 'WITHSCORES')[2]
  if next_due and (due == '' or tonumber(next_due) < tonumber(due)) then due = next_due end
end
answer[2] = { 0, positions, due }
return answer
