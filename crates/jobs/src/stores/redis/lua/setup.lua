-- Makes the lane's streams and their group, after putting aside what stands in their place and is
-- something else. KEYS[1]: the lane's prefix. ARGV: suffixes of further streams. Answers the names of
-- what was put aside.
local call, K = redis.call, KEYS[1]
local clock = call('TIME')
local kinds = {
  stream = { ':q1', ':q2', ':q3', ':q4', ':q5', ':end', ':ev', ':wake', ':keyed', ':ids' },
  hash = { ':at', ':note', ':sum', ':keys', ':told' },
  zset = { ':zs', ':zf', ':dead' },
  set = { ':off' },
}
for _, suffix in ipairs(ARGV) do table.insert(kinds.stream, suffix) end
local aside = {}
for kind, suffixes in pairs(kinds) do
  for _, suffix in ipairs(suffixes) do
    local is = call('TYPE', K .. suffix).ok
    if is ~= 'none' and is ~= kind then
      local name = K .. suffix .. ':aside:' .. clock[1]
      call('RENAME', K .. suffix, name)
      aside[#aside + 1] = name
    end
  end
end
for p = 1, 5 do
  local made = redis.pcall('XGROUP', 'CREATE', K .. ':q' .. p, 'w', '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
return aside
