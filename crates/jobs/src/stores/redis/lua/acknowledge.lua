-- Deletes completions. KEYS[1]: the lane's prefix. ARGV: {tag, how many, their entries…}….
local arg = 1
while arg <= #ARGV do
  local last = arg + 1 + tonumber(ARGV[arg + 1])
  redis.call('XDEL', KEYS[1] .. ':done:' .. ARGV[arg], unpack(ARGV, arg + 2, last))
  arg = last + 1
end
return 1
