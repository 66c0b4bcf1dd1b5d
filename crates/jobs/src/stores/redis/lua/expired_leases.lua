-- ARGV: how old in ms. Answers running jobs whose lease was not renewed for so long.
local answer = {}
for p = 5, 1, -1 do
  local stream = K .. ':q' .. p
  for _, pending in ipairs(call('XPENDING', stream, 'w', 'IDLE', ARGV[1], '-', '+', 256 - #answer)) do
    local found = call('XRANGE', stream, pending[1], pending[1])[1]
    local id = found and id_of(found[2][2], pending[1])
    if id and not call('HGET', K .. ':at', id) then
      -- The hash has lost it, by eviction or by hand. Its entry has the job, which has not ended:
      -- its end would have taken the entry away.
      call('HSET', K .. ':at', id, 'q' .. p .. ':' .. pending[1])
    end
    local seen = id and read_job('', id)
    -- A pending entry that its job's state does not name is left over: it leads nowhere.
    if seen and string.match(seen[2], '^[qr]' .. p .. ':([^:]+)') == pending[1] then
      answer[#answer + 1] = seen
    else
      call('XACK', stream, 'w', pending[1])
      call('XDEL', stream, pending[1])
    end
  end
  if #answer >= 256 then break end
end
return answer
