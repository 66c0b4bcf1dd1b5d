-- Replaces a field of a hash if it still is what the caller saw. KEYS[1]: the hash. ARGV: field, 1
-- when there is to be an old value, that, 1 when there is to be a new one, that.
local old = redis.call('HGET', KEYS[1], ARGV[1])
local seen = ARGV[2] == '1' and ARGV[3]
if old ~= seen then return 0 end
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[5]) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
