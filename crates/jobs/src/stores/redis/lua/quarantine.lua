-- Puts a key aside that holds something else than it should. ARGV: the type that it should have.
-- Answers the name of what was put aside, or nothing.
local is = redis.call('TYPE', KEYS[1]).ok
if is == 'none' or is == ARGV[1] then return false end
local name = KEYS[1] .. ':aside:' .. redis.call('TIME')[1]
redis.call('RENAME', KEYS[1], name)
return name
