-- Notes the progress of a running job. ARGV: events to keep, job, state, progress, how many notes of a
-- job to keep, and how many bytes. Answers 1, or 0 when it is in another state.
if call('HGET', K .. ':at', ARGV[2]) ~= ARGV[3] then return 0 end
assert_types('XLEN', ':ev')
assert_types('HLEN', ':told')
call('HSET', K .. ':note', ARGV[2], ARGV[4])
local old = call('HGET', K .. ':told', ARGV[2])
-- Notes of another form are written anew.
local read, notes = pcall(cjson.decode, old or '[]')
if not read or type(notes) ~= 'table' then notes = {} end
local size = #ARGV[4]
local last, since = notes[#notes], string.match(ARGV[3], '^..:[^:]+:[^:]+:(%d+)')
for _, note in ipairs(notes) do size = size + #note[4] end
while #notes > 0 and (#notes >= tonumber(ARGV[5]) or size > tonumber(ARGV[6])) do
  size = size - #table.remove(notes, 1)[4]
end
notes[#notes + 1] = { last and last[1] + 1 or 1, tonumber(since), now, ARGV[4] }
call('HSET', K .. ':told', ARGV[2], cjson.encode(notes))
event(ARGV[1], 'progress', ARGV[2], ARGV[4])
return 1
