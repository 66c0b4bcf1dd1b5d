-- Notes that a worker takes jobs of a queue now, and forgets whoever did a day ago. KEYS[1]: a hash,
-- queue -> when, Unix milliseconds. ARGV: the queue.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- A full Redis takes what a script writes once that has made room.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if math.abs(now - (tonumber(all[i + 1]) or 0)) > 86400000 then redis.call('HDEL', KEYS[1], all[i]) end
end
return 1
