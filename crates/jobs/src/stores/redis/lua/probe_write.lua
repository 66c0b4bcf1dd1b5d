-- Writes a little in a lane, to see that writing works there.
redis.call('HSET', KEYS[1] .. ':sum', 'beat', redis.call('TIME')[1])
return 1
