-- Answers now, queued, running, scheduled, failed, dead, succeeded, cancelled, oldest queued (ms
-- or empty).
local waiting, running, oldest = 0, 0, nil
for p = 1, 5 do
  local stream = K .. ':q' .. p
  local group = redis.pcall('XINFO', 'GROUPS', stream)[1]
  local delivered, pending = '0-0', 0
  for f = 1, #(group or {}) - 1, 2 do
    if group[f] == 'last-delivered-id' then delivered = group[f + 1] end
    if group[f] == 'pending' then pending = group[f + 1] end
  end
  waiting = waiting + call('XLEN', stream) - pending
  running = running + pending
  local first = call('XRANGE', stream, '(' .. delivered, '+', 'COUNT', 1)[1]
  local since = first and tonumber(string.match(first[1], '^%d+'))
  if since and (not oldest or since < oldest) then oldest = since end
end
local sums = call('HMGET', K .. ':sum', 'succeeded', 'cancelled')
return {
  text(now), text(waiting), text(running), text(call('ZCARD', K .. ':zs')), text(call('ZCARD', K .. ':zf')),
  text(call('ZCARD', K .. ':dead')), sums[1] or '0', sums[2] or '0', oldest and text(oldest) or '',
}
