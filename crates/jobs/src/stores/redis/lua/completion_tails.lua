-- Answers the last entry that the completions of each tag ever had, whether it is still there or not; 0-0
-- where there are none. KEYS[1]: the lane's prefix. ARGV: tags.
local answer = {}
for n, tag in ipairs(ARGV) do
  answer[n] = '0-0'
  local info = redis.pcall('XINFO', 'STREAM', KEYS[1] .. ':done:' .. tag)
  for field = 1, #info - 1, 2 do
    if info[field] == 'last-generated-id' then answer[n] = info[field + 1] end
  end
end
return answer
