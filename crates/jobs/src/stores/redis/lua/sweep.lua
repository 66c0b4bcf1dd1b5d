-- Deletes what ended long ago. ARGV: how long ago in ms, the same for dead letters, and how long ago
-- idempotency keys were taken. Answers how many, and at least 256 when more may be left.
local count, spent, full = 0, {}, false
local noted = call('EXISTS', K .. ':told') == 1
local limit = text(now - tonumber(ARGV[1]))
for _, entry in ipairs(call('XRANGE', K .. ':end', '-', limit, 'COUNT', 16)) do
  local ids = {}
  for id in string.gmatch(entry[2][2], '%S+') do ids[#ids + 1] = id end
  if #ids > 0 then
    call('HDEL', K .. ':at', unpack(ids))
    if noted then call('HDEL', K .. ':told', unpack(ids)) end
  end
  count = count + #ids
  spent[#spent + 1] = entry[1]
end
if #spent > 0 then call('XDEL', K .. ':end', unpack(spent)) end
full = #spent == 16
local dead = call('ZRANGEBYSCORE', K .. ':dead', '-inf', text(now - tonumber(ARGV[2])), 'LIMIT', 0, 256)
if #dead > 0 then
  call('HDEL', K .. ':at', unpack(dead))
  if noted then call('HDEL', K .. ':told', unpack(dead)) end
  call('ZREM', K .. ':dead', unpack(dead))
end
local old, gone = now - tonumber(ARGV[3]), {}
for _, entry in ipairs(call('XRANGE', K .. ':keyed', '-', text(old), 'COUNT', 16)) do
  local keys, past = {}, {}
  for field = 1, #entry[2], 2 do keys[#keys + 1] = entry[2][field] end
  for n, value in ipairs(call('HMGET', K .. ':keys', unpack(keys))) do
    -- One that was taken anew after its time is younger than this entry.
    local since = value and string.match(value, '^%d+')
    if since and tonumber(since) <= old then past[#past + 1] = keys[n] end
  end
  if #past > 0 then call('HDEL', K .. ':keys', unpack(past)) end
  count = count + #keys
  gone[#gone + 1] = entry[1]
end
if #gone > 0 then call('XDEL', K .. ':keyed', unpack(gone)) end
full = full or #gone == 16

-- Ids whose jobs are all gone. What some are left of is looked at again in the next round.
local round = call('HGET', K .. ':sum', 'round')
local youngest, past = text(now - math.min(tonumber(ARGV[1]), tonumber(ARGV[2]))), {}
local submitted = call('XRANGE', K .. ':ids', round and '(' .. round or '-', youngest, 'COUNT', 16)
for _, entry in ipairs(submitted) do
  local ids, left = {}, false
  for id in string.gmatch(entry[2][2], '%S+') do ids[#ids + 1] = id end
  for _, state in ipairs(#ids > 0 and call('HMGET', K .. ':at', unpack(ids)) or {}) do
    left = left or state
  end
  if not left then past[#past + 1] = entry[1] end
end
if #past > 0 then call('XDEL', K .. ':ids', unpack(past)) end
if #submitted == 16 then
  call('HSET', K .. ':sum', 'round', submitted[16][1])
  full = full or #past > 0
elseif round then
  call('HDEL', K .. ':sum', 'round')
end
count = count + #dead
if full then return math.max(count, 256) end
return count
