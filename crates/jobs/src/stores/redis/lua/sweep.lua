-- Forgets what ended long ago. ARGV: how long ago in ms, the same for dead letters, and how long ago
-- idempotency keys were taken. Answers how many.
local count, spent = 0, {}
local limit = text(now - tonumber(ARGV[1]))
for _, entry in ipairs(call('XRANGE', K .. ':end', '-', limit, 'COUNT', 16)) do
  local ids = {}
  for id in string.gmatch(entry[2][2], '%S+') do ids[#ids + 1] = id end
  if #ids > 0 then call('HDEL', K .. ':at', unpack(ids)) end
  count = count + #ids
  spent[#spent + 1] = entry[1]
end
if #spent > 0 then call('XDEL', K .. ':end', unpack(spent)) end
local dead = call('ZRANGEBYSCORE', K .. ':dead', '-inf', text(now - tonumber(ARGV[2])), 'LIMIT', 0, 256)
if #dead > 0 then
  call('HDEL', K .. ':at', unpack(dead))
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
return count + #dead
