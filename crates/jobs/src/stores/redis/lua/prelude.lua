-- What every script of a lane begins with. KEYS[1] is the lane's prefix, with its hash tag; all
-- keys of a lane are this prefix and a suffix, hence in one slot:
--   :q1 … :q5  streams of packed jobs by priority, group `w`: waiting, or pending = leased
--   :at        hash, job -> state (the fence); see below
--   :zs :zf    sorted sets, job by due time: scheduled, failed
--   :dead      sorted set, job by time of death
--   :ids       stream of the ids that were taken in together: the order that no move changes
--   :end       stream of the ids that ended together
--   :done:<tag>  stream of completions, a state of an ended job each, until they are acknowledged
--   :note      hash, job -> progress, of running jobs
--   :told      hash, job -> the progress messages of its attempts, as JSON
--   :off       set, running jobs that were cancelled
--   :sum       hash, totals
--   :ev        stream of events, one entry for all jobs that something happened to together
--   :wake      stream of one, written when a job is due sooner than any before
--   :keys      hash, idempotency key -> since when, fingerprint and job
--   :keyed     stream of the keys that were taken together, to forget them by
-- States: `q<priority>:<entry>`, `r<priority>:<entry>:<nonce>:<since>:<worker>`,
-- `s<priority>:<due>:<packed job>`, `f` the same, `D<packed job>`, `S<packed record>`, `C` the same.
local K = KEYS[1]
local call = redis.call
local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A number as a text without an exponent.
local function text(number) return string.format('%.0f', number) end

local function joined(ids) return table.concat(ids, ' ') end

-- Adds an event of jobs, if there are any. Their ids are joined.
local function event(keep, name, ids, data)
  if ids == '' then return end
  if data then
    call('XADD', K .. ':ev', 'MAXLEN', '~', keep, '*', 'n', name, 'i', ids, 'd', data)
  else
    call('XADD', K .. ':ev', 'MAXLEN', '~', keep, '*', 'n', name, 'i', ids)
  end
end

-- Lets a job wait, and wakes who sleeps until a later one. Answers its state.
local function delay(kind, p, id, due, packed)
  local first = call('ZRANGE', K .. ':z' .. kind, 0, 0, 'WITHSCORES')
  call('ZADD', K .. ':z' .. kind, text(due), id)
  if not first[2] or tonumber(first[2]) > due then
    call('XADD', K .. ':wake', 'MAXLEN', '1', '*', 'd', text(due))
  end
  return kind .. p .. ':' .. text(due) .. ':' .. packed
end

-- Makes the stream of all ids anew where there is none: the lane is new, of an earlier version, or
-- lost it by an eviction. An id ends in 27 digits, which begin with its time.
local function ensure_ids()
  if call('EXISTS', K .. ':ids') == 1 then return end
  local ids = call('HKEYS', K .. ':at')
  table.sort(ids, function(a, b) return string.sub(a, -27) < string.sub(b, -27) end)
  for first = 1, #ids, 256 do
    local last = math.min(first + 255, #ids)
    call('XADD', K .. ':ids', '*', 'i', table.concat(ids, ' ', first, last))
  end
end

-- Notes the order in which jobs came, once their states are there: joined ids of queued jobs, then of
-- delayed ones. A stream that is something else stops nobody: a list puts it aside, and makes it anew.
local function append_ids(ids, late)
  local text = ids
  if late ~= '' then text = ids == '' and late or ids .. ' ' .. late end
  if text ~= '' and not redis.pcall('XADD', K .. ':ids', 'NOMKSTREAM', '*', 'i', text) then ensure_ids() end
end

-- The job that a packed one of ours names.
local function name_of(packed) return sub(packed, 1, find(packed, '\n', 1, true) - 1) end

-- The same for whatever an entry holds. What names no job of this lane gets a name made from its
-- entry's, so that it can be moved like any other: nobody can decode it, and it must not stop the rest.
local own, named
local function id_of(packed, entry)
  if not own then
    own = string.gsub(string.match(K, '{([^{}]*)}$') or '', ':', '.') .. '.'
    named = '^(' .. string.gsub(own, '%p', '%%%0') .. '[0-9a-f]+)\n'
  end
  -- One repetition instead of 27 classes: this runs for each job that is claimed.
  local id = match(packed, named)
  if id and #id == #own + 27 then return id end
  local ms, n = string.match(entry or '0-0', '^(%d+)-(%d+)$')
  return own .. string.format('%011x%016x', tonumber(ms) % 2 ^ 44, tonumber(n) % 2 ^ 53)
end

-- Nothing that a script has written is undone when it fails, so that what may hold something else
-- than it should (WRONGTYPE) is asked for its size before anything is written.
local function assert_types(size, ...)
  for _, suffix in ipairs({ ... }) do call(size, K .. suffix) end
end
