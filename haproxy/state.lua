-- Keeps on disk which routers HAProxy knows, so that a reload, or a start, without Consul's DNS has them at once.
-- HAProxy reads the file (server-state-file) but writes it itself nowhere: this asks its own socket every second.
local name = "mesh-" .. os.getenv("MESH_PORT")
local path = os.getenv("STATE_DIR") .. "/" .. name .. ".state"
local socket = "abns@" .. name
local ADDRESS, OPERATIONAL, SINCE = 5, 6, 10
-- A router that is down for so long is not kept: what is read back stays until DNS names it, or `hold timeout` is over.
local LOST = 3600
local EVERY = 1000

local function state()
  local it = core.tcp()
  it:settimeout(2)
  if not it:connect(socket) then return nil end
  it:send("show servers state routers\n")
  local text = it:receive("*a")
  it:close()
  return text
end

-- The version, the names of the columns, and a line for each router that has an address.
local function kept(text)
  local lines, routers = {}, 0
  for line in text:gmatch("[^\n]+") do
    local field = core.tokenize(line, " ")
    if lines[2] == nil then
      lines[#lines + 1] = line
    elseif field[ADDRESS] ~= "-" and not (field[OPERATIONAL] == "0" and tonumber(field[SINCE]) > LOST) then
      lines[#lines + 1] = line
      routers = routers + 1
    end
  end
  return routers > 0 and table.concat(lines, "\n") .. "\n" or nil
end

-- After a reload the old process writes on while its calls end: each has a file of its own on the way.
local function process()
  local file = io.open("/proc/self/stat")
  local id = file and file:read("n")
  if file then file:close() end
  return id or 0
end

-- Never half a file: written beside it, then put in its place.
local function write(text)
  local new = string.format("%s.%d", path, process())
  local file, problem = io.open(new, "w")
  if not file then return problem end
  local done
  done, problem = file:write(text)
  file:close()
  if done then done, problem = os.rename(new, path) end
  return not done and (problem or "cannot write") or nil
end

core.register_task(function()
  local told
  while true do
    core.msleep(EVERY)
    local text = state()
    local now = text and kept(text)
    -- Without any router there is nothing to keep: the last that was known is worth more.
    if now then
      local problem = write(now)
      if problem and problem ~= told then
        core.Warning("routers are not kept for a reload: " .. problem .. " (STATE_DIR)")
      end
      told = problem
    end
  end
end)
