-- Answers how long ago a worker noted that it takes jobs of each queue: queue, milliseconds, queue, …
-- A clock that was set back is no reason to call one gone that has just told of itself.
-- KEYS[1]: the hash of heartbeat.lua.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
for i = 2, #all, 2 do all[i] = string.format('%.0f', math.abs(now - (tonumber(all[i]) or 0))) end
return all
