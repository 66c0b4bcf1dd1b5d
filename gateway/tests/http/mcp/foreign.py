"""A server of 2025-11-25 over pipes, with resources, prompts and a log. Its tools do what servers should not, too."""

import json
import os
import sys
import threading
import time

LOCK = threading.Lock()
ASKED = {}
STATE = {"level": "none", "followed": set(), "sessions": 0}
DEEP = {"type": "string"}
for _ in range(200):
    DEEP = {"type": "object", "properties": {"in": DEEP}}
TOOLS = "echo state touch slow die flood ask wrong_id never big".split()


def send(message):
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def call(ident, params):
    name, given = params["name"], params.get("arguments") or {}
    if name == "echo":
        result = text(given.get("text", ""))
    elif name == "state":
        state = {**STATE, "followed": sorted(STATE["followed"]), "pid": os.getpid()}
        result = text(json.dumps(state))
    elif name == "touch":
        if given["text"] in STATE["followed"]:
            send({"method": "notifications/resources/updated", "params": {"uri": given["text"]}})
        result = text("touched")
    elif name == "slow":
        time.sleep(float(given["text"]))
        result = text("slept")
    elif name == "die":
        os._exit(3)
    elif name == "flood":
        token = (params.get("_meta") or {}).get("progressToken")
        for i in range(int(given["text"])):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": i}})
            send({"method": "notifications/message", "params": {"level": "emergency", "data": "x" * 100}})
            send({"id": 10**9 + i, "result": {}})
        result = text("flooded")
    elif name == "ask":
        answer = []
        event = threading.Event()
        ASKED["ask-1"] = (event, answer)
        form = {"type": "object", "properties": {"name": {"type": "string"}}}
        send({"id": "ask-1", "method": "elicitation/create", "params": {"message": "?", "requestedSchema": form}})
        event.wait(30)
        result = text("hello " + answer[0].get("result", {}).get("content", {}).get("name", "nobody"))
    elif name == "wrong_id":
        send({"id": ident + 1_000_000, "result": text("for another")})
        send({"id": "nobody", "result": text("for nobody")})
        result = text("for you")
    elif name == "never":
        return
    elif name == "task":
        times = {"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
        result = {"task": {"taskId": "t1", "status": "working", "ttl": 60000, "pollInterval": 50, **times}}
    elif name == "big":
        result = text("x" * int(given["text"]))
    else:
        return send({"id": ident, "error": {"code": -32602, "message": "Unknown tool"}})
    send({"id": ident, "result": result})


def answer(method, params):
    if method == "tasks/get":
        times = {"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
        return {"taskId": params["taskId"], "status": "completed", "ttl": 60000, "pollInterval": 50, **times}
    if method == "tasks/result":
        return text("done in a task")
    if method == "initialize":
        STATE["sessions"] += 1
        return {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "foreign", "version": "1"},
                "capabilities": {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}, "logging": {}, "prompts": {}, "completions": {},
                                 "resources": {"subscribe": True}}}
    if method == "tools/list":
        schema = {"type": "object", "properties": {"text": {"type": "string"}}}
        tools = [{"name": name, "description": name, "inputSchema": schema} for name in TOOLS]
        tools.append({"name": "task", "inputSchema": schema, "execution": {"taskSupport": "required"}})
        return {"tools": tools + [{"name": "deep", "inputSchema": {"type": "object", "properties": {"in": DEEP}}}]}
    if method == "resources/list":
        return {"resources": [{"uri": "note:1", "name": "a note"}, {"uri": "note:2", "name": "another"}]}
    if method == "resources/read" and params["uri"].startswith("note:"):
        return {"contents": [{"uri": params["uri"], "text": "it says " + params["uri"]}]}
    if method == "prompts/list":
        return {"prompts": [{"name": "greet", "title": "Greet", "arguments": [{"name": "who", "required": True}]}]}
    if method == "prompts/get" and params["name"] == "greet":
        who = params.get("arguments", {}).get("who", "nobody")
        return {"messages": [{"role": "user", "content": {"type": "text", "text": "greet " + who}}]}
    if method == "completion/complete" and params["ref"].get("name") == "greet":
        return {"completion": {"values": [params["argument"]["value"] + "nn"], "total": 1, "hasMore": False}}
    if method == "logging/setLevel":
        STATE["level"] = params["level"]
        return {}
    if method == "resources/subscribe":
        STATE["followed"].add(params["uri"])
        return {}
    if method == "resources/unsubscribe":
        STATE["followed"].discard(params["uri"])
        return {}
    return {} if method == "ping" else None


for line in sys.stdin:
    message = json.loads(line)
    ident, method, params = message.get("id"), message.get("method"), message.get("params") or {}
    if method is None:
        event, got = ASKED.pop(ident)
        got.append(message)
        event.set()
    elif ident is None:
        pass
    elif method == "tools/call":
        threading.Thread(target=call, args=(ident, params), daemon=True).start()
    else:
        result = answer(method, params)
        if result is None:
            send({"id": ident, "error": {"code": -32601, "message": "Method not found"}})
        else:
            send({"id": ident, "result": result})
