-- Reading jobs; every answer is a list of {id, state, packed, progress, cancelled}.
local function read_job(_, id)
  local state = call('HGET', K .. ':at', id)
  if not state then return nil end
  local kind, packed = string.sub(state, 1, 1), nil
  local notes = { '', '' }
  if kind == 'q' or kind == 'r' then
    local entry = string.match(state, '^.[1-5]:(%d+-%d+)')
    local found = entry and call('XRANGE', K .. ':q' .. string.sub(state, 2, 2), entry, entry)[1]
    packed = found and found[2][2]
    if kind == 'r' then
      local off = call('SISMEMBER', K .. ':off', id) == 1
      notes = { call('HGET', K .. ':note', id), off and '1' }
    end
  elseif kind == 's' or kind == 'f' then
    packed = string.match(state, '^..:%d+:(.*)$')
  else
    packed = string.sub(state, 2)
  end
  if not packed then return nil end
  return { id, state, packed, notes[1] or '', notes[2] or '' }
end
