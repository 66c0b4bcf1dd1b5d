-- Forgets what ended long ago. ARGV: how long ago in ms, the same for dead letters. Answers how many.
local count, spent = 0, {}
local limit = text(now - tonumber(ARGV[1]))
for _, entry in ipairs(call('XRANGE', K .. ':end', '-', limit, 'COUNT', 16)) do
  local ids = {}
  for id in string.gmatch(entry[2][2], '%S+') do ids[#ids + 1] = id end
  call('HDEL', K .. ':at', unpack(ids))
  count = count + #ids
  spent[#spent + 1] = entry[1]
end
if #spent > 0 then call('XDEL', K .. ':end', unpack(spent)) end
local dead = call('ZRANGEBYSCORE', K .. ':dead', '-inf', text(now - tonumber(ARGV[2])), 'LIMIT', 0, 256)
if #dead > 0 then
  call('HDEL', K .. ':at', unpack(dead))
  call('ZREM', K .. ':dead', unpack(dead))
end
return count + #dead
