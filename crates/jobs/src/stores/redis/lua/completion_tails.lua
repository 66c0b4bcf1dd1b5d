-- Answers the latest completion of each tag that is there, 0-0 where there are none. KEYS[1]: the lane's
-- prefix. ARGV: tags.
local answer = {}
for n, tag in ipairs(ARGV) do
  local last = redis.call('XREVRANGE', KEYS[1] .. ':done:' .. tag, '+', '-', 'COUNT', 1)[1]
  answer[n] = last and last[1] or '0-0'
end
return answer
