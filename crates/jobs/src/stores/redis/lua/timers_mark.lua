-- Writes a little, to see that writing works, and answers the mark of this set of timers. It is a
-- field of their own hash without a name, so that it is gone when they are. KEYS[1]: the timers.
-- ARGV: a new mark.
local mark = redis.call('HGET', KEYS[1], '') or ARGV[1]
redis.call('HSET', KEYS[1], '', mark)
return mark
