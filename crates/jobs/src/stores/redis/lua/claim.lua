-- Leases jobs. ARGV: events to keep, at most how many, `<nonce>`, `<worker>`, 1 to begin with the
-- lowest priority. Answers: now, how many delayed jobs are lost, why a stream cannot be read (or
-- empty), then for each priority that had jobs {priority, {entry, fields}…}, or when there were none
-- {0, positions of q1 … q5 and wake, next due time or empty}.
local keep, left, nonce, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
call('HLEN', K .. ':at')
call('XLEN', K .. ':ev')

local lost = 0
for _, kind in ipairs({ 's', 'f' }) do
  local due = call('ZRANGEBYSCORE', K .. ':z' .. kind, '-inf', text(now), 'LIMIT', 0, 256)
  if #due > 0 then
    assert_types('XLEN', ':q1', ':q2', ':q3', ':q4', ':q5')
    local waiting = call('HMGET', K .. ':at', unpack(due))
    -- Out first: a full Redis allows that, and after it whatever belongs to it.
    call('ZREM', K .. ':z' .. kind, unpack(due))
    local states, moved = {}, {}
    for i, id in ipairs(due) do
      local p, packed
      if waiting[i] then
        p, packed = string.match(waiting[i], '^[sf]([1-5]):%d+:(.*)$')
        -- Whoever claims it finds that it cannot be decoded.
        if not p and string.find(waiting[i], '^[sf]') then p, packed = 3, waiting[i] end
      else
        lost = lost + 1
      end
      if p then
        moved[#moved + 1] = id
        states[#states + 1] = id
        states[#states + 1] = 'q' .. p .. ':' .. call('XADD', K .. ':q' .. p, '*', 'j', packed)
      end
    end
    if #states > 0 then call('HSET', K .. ':at', unpack(states)) end
    event(keep, 'queued', joined(moved))
  end
end

local failed = ''
local answer, states, ids, leased = { text(now), lost, failed }, {}, {}, 0
local tail = ':' .. nonce .. ':' .. text(now) .. ':' .. worker
local first, last, step = 5, 1, -1
if ARGV[5] == '1' then first, last, step = 1, 5, 1 end
for p = first, last, step do
  local read = redis.pcall('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', left, 'STREAMS', K .. ':q' .. p, '>')
  if read and read.err then
    -- The others' jobs are delivered: what happens to one stream must not strand them.
    failed = read
  elseif read then
    local entries, head = read[1][2], 'r' .. p .. ':'
    for _, entry in ipairs(entries) do
      local id = id_of(entry[2][2], entry[1])
      leased = leased + 1
      ids[leased] = id
      states[2 * leased - 1], states[2 * leased] = id, head .. entry[1] .. tail
    end
    answer[#answer + 1] = { p, entries }
    left = left - #entries
    if left == 0 then break end
  end
end
if leased > 0 then
  call('HSET', K .. ':at', unpack(states))
  event(keep, 'running', joined(ids))
  if failed ~= '' then answer[3] = failed.err end
  return answer
end
if failed ~= '' then return failed end

local positions = {}
-- Whatever comes after the last delivered entry is news, since nothing was left to deliver.
for p = 1, 5 do
  for _, group in ipairs(call('XINFO', 'GROUPS', K .. ':q' .. p)) do
    local fields = {}
    for f = 1, #group - 1, 2 do fields[group[f]] = group[f + 1] end
    if fields.name == 'w' then positions[p] = fields['last-delivered-id'] end
  end
end
local woken = call('XREVRANGE', K .. ':wake', '+', '-', 'COUNT', 1)[1]
positions[6] = woken and woken[1] or '0-0'
local due = ''
for _, kind in ipairs({ 's', 'f' }) do
  local next_due = call('ZRANGE', K .. ':z' .. kind, 0, 0, 'WITHSCORES')[2]
  if next_due and (due == '' or tonumber(next_due) < tonumber(due)) then due = next_due end
end
answer[4] = { 0, positions, due }
return answer
