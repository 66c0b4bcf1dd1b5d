-- A request to call a tool, or another one that the variable BODY holds, by wrk; some answers are looked at.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["accept"] = "application/json, text/event-stream"
local version, method, tool = os.getenv("VERSION"), os.getenv("METHOD"), os.getenv("TOOL")
if version then wrk.headers["mcp-protocol-version"] = version end
if version == "2026-07-28" then
  wrk.headers["mcp-method"] = method
  if tool then wrk.headers["mcp-name"] = tool end
end
if os.getenv("SESSION") then wrk.headers["mcp-session-id"] = os.getenv("SESSION") end
if os.getenv("TOKEN") then wrk.headers["authorization"] = "Bearer " .. os.getenv("TOKEN") end
-- Each request of a session has an id of its own.
local before, after = os.getenv("BODY"):match('^(.-"id":)1(,.*)$')
local id = 0
function request()
  if not before then return wrk.format(nil, nil, nil, os.getenv("BODY")) end
  id = id + 1
  return wrk.format(nil, nil, nil, before .. id .. after)
end
local expected, count, bad = os.getenv("EXPECTED"), 0, 0
function response(status, headers, body)
  count = count + 1
  if status ~= 200 or (count % 50 == 0 and not body:find(expected, 1, true)) then
    bad = bad + 1
    if bad < 3 then print("BAD", status, body:sub(1, 300)) end
  end
end
