-- ARGV: jobs. Answers each, or nothing in its place.
local answer = {}
for n, id in ipairs(ARGV) do answer[n] = read_job('', id) or false end
return answer
