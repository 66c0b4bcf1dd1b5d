-- Uses each command that the scripts use, on keys that hold nothing, and answers the refusal of the
-- first that this user may not use: a script that is refused in its middle would leave half a step.
-- KEYS[1]: a prefix of its own.
local K = KEYS[1]
local uses = {
  { 'TIME' }, { 'TYPE', K }, { 'EXISTS', K }, { 'XGROUP', 'CREATE', K .. ':q', 'w', '$', 'MKSTREAM' },
  { 'XADD', K .. ':q', 'NOMKSTREAM', 'MAXLEN', '0', '*', 'j', '' }, { 'XLEN', K .. ':q' }, { 'XRANGE', K .. ':q', '-', '+' },
  { 'XREVRANGE', K .. ':q', '+', '-' }, { 'XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', 1, 'STREAMS', K .. ':q', '>' },
  { 'XREAD', 'COUNT', 1, 'STREAMS', K .. ':q', '0' },
  { 'XPENDING', K .. ':q', 'w' }, { 'XCLAIM', K .. ':q', 'w', 'w', 0, '0-1', 'JUSTID' },
  { 'XACK', K .. ':q', 'w', '0-1' }, { 'XDEL', K .. ':q', '0-1' }, { 'XINFO', 'GROUPS', K .. ':q' },
  { 'HSET', K .. ':h', 'f', '' }, { 'HGET', K .. ':h', 'f' }, { 'HMGET', K .. ':h', 'f' }, { 'HLEN', K .. ':h' },
  { 'HGETALL', K .. ':h' }, { 'HKEYS', K .. ':h' }, { 'HINCRBY', K .. ':n', 'f', 0 }, { 'HDEL', K .. ':h', 'f' }, { 'HDEL', K .. ':n', 'f' },
  { 'ZADD', K .. ':z', 0, 'm' }, { 'ZRANGE', K .. ':z', 0, 0 }, { 'ZRANGEBYSCORE', K .. ':z', 0, 0 },
  { 'ZCARD', K .. ':z' }, { 'ZCOUNT', K .. ':z', 0, 0 }, { 'ZREM', K .. ':z', 'm' },
  { 'SADD', K .. ':s', 'm' }, { 'SMEMBERS', K .. ':s' }, { 'SISMEMBER', K .. ':s', 'm' },
  { 'SMISMEMBER', K .. ':s', 'm' }, { 'SCARD', K .. ':s' }, { 'SREM', K .. ':s', 'm' },
}
for _, use in ipairs(uses) do
  local answer = redis.pcall(unpack(use))
  local err = type(answer) == 'table' and answer.err
  if err and (string.find(err, 'NOPERM', 1, true) or string.find(err, 'The user executing', 1, true)) then
    return redis.error_reply('NOPERM its user may not use ' .. use[1] .. ' on ' .. K .. '*')
  end
end
return 1
