-- Jobs. ARGV: state letter, or A for all; position (or empty), at most how many. Answers {next
-- position or empty, {position, job}…}; the position of a job leads to what comes after it.
local kind, after, max = ARGV[1], ARGV[2], tonumber(ARGV[3])
local answer, more = {}, ''

-- The ids of an entry, and how many of them to skip if the position names it.
local function ids_of(entry)
  local ids, at, skip = {}, string.match(after, '^([^/]+)/(%d+)$')
  for id in string.gmatch(entry[2][2], '%S+') do ids[#ids + 1] = id end
  return ids, at == entry[1] and tonumber(skip) or 0
end

if kind == 'A' then
  ensure_ids()
  local start, looked = after == '' and '+' or string.match(after, '^[^/]+'), 0
  repeat
    local entries = call('XREVRANGE', K .. ':ids', start, '-', 'COUNT', 16)
    for _, entry in ipairs(entries) do
      local ids, skip = ids_of(entry)
      for n = skip + 1, #ids do
        more = entry[1] .. '/' .. n
        -- The last one came last.
        local seen = read_job('', ids[#ids + 1 - n])
        if seen then answer[#answer + 1] = { more, seen } end
        if #answer == max then return { more, answer } end
      end
      looked, start = looked + #ids, '(' .. entry[1]
    end
    if #entries < 16 then more = '' end
  until more == '' or looked >= 1024
elseif kind == 'q' or kind == 'r' then
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
      more = p .. ':' .. entry[1]
      local seen = found and read_job('', id_of(found[2][2], found[1]))
      if seen and string.sub(seen[2], 1, 1) == kind then answer[#answer + 1] = { more, seen } end
    end
    if #entries == 0 then
      p, from = p - 1, nil
    else
      from = entries[#entries][1]
    end
  end
  if p < 1 then more = '' end
elseif kind == 'S' or kind == 'C' then
  local start = after == '' and '+' or string.match(after, '^[^/]+')
  local entries = call('XREVRANGE', K .. ':end', start, '-', 'COUNT', 256)
  -- An entry is of one kind; those of the other are passed over, a bounded number a call.
  for _, entry in ipairs(entries) do
    local ids, skip = ids_of(entry)
    if entry[2][4] ~= (kind == 'S' and '1' or '2') then skip = #ids end
    for n = skip + 1, #ids do
      more = entry[1] .. '/' .. n
      local seen = read_job('', ids[n])
      if seen then answer[#answer + 1] = { more, seen } end
      if #answer == max then return { more, answer } end
    end
    more = entry[1] .. '/' .. #ids
  end
  if #entries < 256 then more = '' end
else
  local set, rank = kind == 'D' and K .. ':dead' or K .. ':z' .. kind, 0
  if after ~= '' then
    -- Jobs of one score stand in the order of their ids, which end in 27 digits. The place is
    -- looked for, since jobs before it may have left meanwhile.
    local score, id = string.match(after, '^([^/]+)/(.*)$')
    rank = call('ZCOUNT', set, '-inf', '(' .. score)
    local high = rank + call('ZCOUNT', set, score, score)
    while rank < high do
      local middle = math.floor((rank + high) / 2)
      local there = call('ZRANGE', set, middle, middle)[1]
      if string.sub(there, -27) <= string.sub(id, -27) then rank = middle + 1 else high = middle end
    end
  end
  local found = call('ZRANGE', set, rank, rank + max - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    more = found[i + 1] .. '/' .. found[i]
    local seen = read_job('', found[i])
    if seen then answer[#answer + 1] = { more, seen } end
  end
  if #found < 2 * max then more = '' end
end
return { more, answer }
