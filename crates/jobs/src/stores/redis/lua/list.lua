-- Jobs of one status. ARGV: state letter, position (or empty), at most how many. Answers {next
-- position or empty, jobs}.
local kind, after, max = ARGV[1], ARGV[2], tonumber(ARGV[3])
local answer, more = {}, ''

if kind == 'q' or kind == 'r' then
  local p, from = 5, nil
  if after ~= '' then
    p, from = tonumber(string.sub(after, 1, 1)), string.sub(after, 3)
  end
  while p >= 1 and #answer < max do
    local stream, entries = K .. ':q' .. p, {}
    if call('EXISTS', stream) == 1 then
      local start = from and '(' .. from or '-'
      if kind == 'r' then
        entries = call('XPENDING', stream, 'w', start, '+', max - #answer)
      else
        local group = call('XINFO', 'GROUPS', stream)[1] or {}
        for f = 1, #group - 1, 2 do
          if group[f] == 'last-delivered-id' and (not from) then start = '(' .. group[f + 1] end
        end
        entries = call('XRANGE', stream, start, '+', 'COUNT', max - #answer)
      end
    end
    for _, entry in ipairs(entries) do
      local found = kind == 'q' and entry or call('XRANGE', stream, entry[1], entry[1])[1]
      local seen = found and look('', id_of(found[2][2], found[1]))
      more = p .. ':' .. entry[1]
      if seen and string.sub(seen[2], 1, 1) == kind then answer[#answer + 1] = seen end
    end
    if #entries == 0 then
      p, from = p - 1, nil
    else
      from = entries[#entries][1]
    end
  end
  if p < 1 then more = '' end
elseif kind == 'S' or kind == 'C' then
  local start = after == '' and '+' or '(' .. after
  -- An entry is of one kind; those of the other are passed over, a bounded number a call.
  for _, entry in ipairs(call('XREVRANGE', K .. ':end', start, '-', 'COUNT', 256)) do
    more = entry[1]
    if entry[2][4] == (kind == 'S' and '1' or '2') then
      for id in string.gmatch(entry[2][2], '%S+') do
        local seen = look('', id)
        if seen then answer[#answer + 1] = seen end
      end
      if #answer >= max then break end
    end
  end
else
  local set = kind == 'D' and K .. ':dead' or K .. ':z' .. kind
  -- A position is a score, and how many of that score were told already.
  local score, skip = '-inf', 0
  if after ~= '' then
    score, skip = string.match(after, '^([^/]+)/(%d+)$')
    skip = tonumber(skip)
  end
  local found = call('ZRANGEBYSCORE', set, score, '+inf', 'WITHSCORES', 'LIMIT', skip, max)
  for i = 1, #found, 2 do
    if found[i + 1] == score then skip = skip + 1 else score, skip = found[i + 1], 1 end
    more = score .. '/' .. skip
    local seen = look('', found[i])
    if seen then answer[#answer + 1] = seen end
  end
end
return { more, answer }
