"""A small MCP server over pipes, of the era in its first argument. Its tools do what servers should not, too.

silent-start: it says nothing. late: it starts after a second. picky: it ends when it is asked before `initialize`.
odd: it has a tool of a long name, one that says something twice, and extensions that are none.
http: it serves HTTP on a port that it prints, to who sends the header `x-key: s3cret`."""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERA = sys.argv[1]
FLAGS = sys.argv[2:]
LOCK = threading.Lock()
ANSWERS = {}
NEXT = [0]
LISTS = [0]
DESCRIPTION = ["says what it is told"]
if "STATE" in os.environ:
    with open(os.environ["STATE"], encoding="utf-8") as file:
        DESCRIPTION[0] = file.read()
FOLLOWED = set()
LISTENING = {}
TASKS = {}
META = "io.modelcontextprotocol/"


HERE = threading.local()


def write_line(text):
    with LOCK:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(message, sink=None):
    sink = sink or getattr(HERE, "sink", write_line)
    sink(json.dumps({"jsonrpc": "2.0", **message}))


def result(ident, value):
    if ERA == "modern":
        value = {"resultType": "complete", **value}
    send({"id": ident, "result": value})


def error(ident, code, text):
    send({"id": ident, "error": {"code": code, "message": text}})


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def ask(method, params):
    with LOCK:
        NEXT[0] += 1
        ident = f"s{NEXT[0]}"
        event, answer = ANSWERS[ident] = threading.Event(), []
    send({"id": ident, "method": method, "params": params})
    event.wait(60)
    return answer[0]


def tools():
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}
    names = "echo env sleep flood die wrong_id twice big never ask roots progress log change touch sampling".split()
    listed = [{"name": n, "description": DESCRIPTION[0] if n == "echo" else n, "inputSchema": schema,
               "annotations": {"readOnlyHint": n == "echo"}} for n in names]
    task = {"name": "task", "description": "task", "inputSchema": schema}
    if ERA == "legacy":
        task["execution"] = {"taskSupport": "required"}
    return listed + [task]


FORM = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}


def task_of(ident):
    times = {"createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z"}
    if ERA == "legacy":
        return {"taskId": ident, "status": TASKS[ident]["status"], "ttl": 60000, "pollInterval": 50, **times}
    task = {"taskId": ident, "status": TASKS[ident]["status"], "ttlMs": 60000, "pollIntervalMs": 50, **times}
    if task["status"] == "input_required":
        task["inputRequests"] = {"who": {"method": "elicitation/create", "params": FORM}}
    if task["status"] == "completed":
        task["result"] = {"resultType": "complete", **TASKS[ident]["result"]}
    return task


def answered(ident, answer):
    name = answer.get("content", {}).get("name", answer["action"])
    TASKS[ident] = {"status": "completed", "result": text("task hello " + name)}


def about_task(ident, method, params):
    task = params["taskId"]
    if task not in TASKS:
        return error(ident, -32602, "no such task")
    if method == "tasks/get":
        result(ident, task_of(task))
    elif method == "tasks/cancel":
        TASKS[task]["status"] = "cancelled"
        result(ident, task_of(task) if ERA == "legacy" else {})
    elif method == "tasks/update":
        answered(task, params["inputResponses"]["who"])
        result(ident, {})
    elif method == "tasks/result":
        if TASKS[task]["status"] == "input_required":
            answered(task, ask("elicitation/create", FORM)["result"])
        result(ident, {**TASKS[task]["result"], "_meta": {META + "related-task": {"taskId": task}}})


def changed(method, params=None):
    if ERA == "legacy" and "http" not in FLAGS:
        send({"method": method, "params": params or {}})
    for ident, sink in list(LISTENING.items()):
        send({"method": method, "params": {**(params or {}), "_meta": {META + "subscriptionId": ident}}}, sink)


def call(ident, params):
    name, given = params["name"], params.get("arguments") or {}
    token = (params.get("_meta") or {}).get("progressToken")
    count = given.get("count", 1)
    if name == "echo":
        result(ident, text(given.get("text", "")))
    elif name == "env":
        result(ident, text(os.environ.get(given["text"], "none")))
    elif name == "sleep":
        time.sleep(count / 1000)
        result(ident, text("slept"))
    elif name == "flood":
        for i in range(count):
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": i}})
            send({"method": "notifications/message", "params": {"level": "info", "data": "x" * 100}})
            send({"id": 10**9 + i, "result": {}})
        result(ident, text("flooded"))
    elif name == "die":
        os._exit(3)
    elif name == "wrong_id":
        result(ident + 1000000, text("for another"))
        result("nobody", text("for nobody"))
        time.sleep(0.2)
        result(ident, text("for you"))
    elif name == "twice":
        result(ident, text("first"))
        result(ident, text("second"))
    elif name == "big":
        result(ident, text("x" * count))
    elif name == "never":
        pass
    elif name == "endless":
        with LOCK:
            while True:
                sys.stdout.write("x" * 4096)
                sys.stdout.flush()
    elif name == "ask":
        if ERA == "legacy":
            answer = ask("elicitation/create", FORM)
            if "error" in answer:
                return error(ident, -32000, "no answer: " + answer["error"]["message"])
            answer = answer["result"]
        else:
            answer = (params.get("inputResponses") or {}).get("who")
            if answer is None:
                if "elicitation" not in params["_meta"][META + "clientCapabilities"]:
                    return error(ident, -32021, "elicitation is needed")
                return send({"id": ident, "result": {
                    "resultType": "input_required", "requestState": "state-1",
                    "inputRequests": {"who": {"method": "elicitation/create", "params": FORM}}}})
            if params.get("requestState") != "state-1":
                return error(ident, -32602, "tampered")
        result(ident, text("hello " + answer.get("content", {}).get("name", answer["action"])))
    elif name == "sampling":
        answer = ask("sampling/createMessage", {"messages": [], "maxTokens": 1})
        result(ident, text(json.dumps(answer.get("result", answer.get("error")))))
    elif name == "roots":
        answer = ask("roots/list", {})
        result(ident, text(json.dumps(answer["result"]["roots"])))
    elif name == "progress":
        for i in range(count):
            send({"method": "notifications/progress",
                  "params": {"progressToken": token, "progress": i + 1, "total": count}})
        result(ident, text("done"))
    elif name == "log":
        for level in ["debug", "info", "error"]:
            send({"method": "notifications/message", "params": {"level": level, "data": level}})
        result(ident, text("logged"))
    elif name == "change":
        DESCRIPTION[0] = given["text"]
        result(ident, text("changed"))
        changed("notifications/tools/list_changed")
    elif name == "task":
        knows = META + "tasks" in params.get("_meta", {}).get(META + "clientCapabilities", {}).get("extensions", {})
        if ERA == "legacy" and "task" not in params:
            return error(ident, -32601, "call it as a task")
        if ERA == "modern" and not knows:
            return error(ident, -32021, "tasks are needed")
        TASKS["t" + str(len(TASKS))] = {"status": "input_required"}
        task = task_of("t" + str(len(TASKS) - 1))
        if ERA == "legacy":
            return result(ident, {"task": task})
        task.pop("inputRequests")
        send({"id": ident, "result": {"resultType": "task", **task}})
    elif name == "touch":
        result(ident, text("touched"))
        changed("notifications/resources/updated", {"uri": given["text"]})
    else:
        error(ident, -32602, "Unknown tool")


CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
if ERA == "legacy":
    CAPABILITIES["tasks"] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
else:
    CAPABILITIES["extensions"] = {META + "tasks": {}}
if "odd" in FLAGS:
    CAPABILITIES["extensions"] = "none"
INFO = {"name": "small", "version": "1.0"}


def handle(message):
    ident, method, params = message.get("id"), message.get("method"), message.get("params") or {}
    if method is None:
        event, answer = ANSWERS.pop(ident)
        answer.append(message)
        event.set()
    elif ident is None:
        if method == "notifications/cancelled":
            sys.stderr.write(f"cancelled {params['requestId']}\n")
            sys.stderr.flush()
            LISTENING.pop(params["requestId"], None)
    elif ERA == "legacy" and method == "initialize":
        result(ident, {"protocolVersion": params["protocolVersion"], "capabilities": CAPABILITIES,
                       "serverInfo": INFO, "instructions": "be small"})
    elif ERA == "modern" and method == "server/discover":
        result(ident, {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES,
                       "_meta": {META + "serverInfo": INFO}, "ttlMs": 0, "cacheScope": "public"})
    elif ERA == "modern" and method == "subscriptions/listen":
        LISTENING[ident] = getattr(HERE, "sink", write_line)
        send({"method": "notifications/subscriptions/acknowledged", "params": {
            "notifications": params["notifications"], "_meta": {META + "subscriptionId": ident}}})
    elif method == "tools/list" and "odd" in FLAGS:
        listed = json.dumps({"jsonrpc": "2.0", "id": ident, "result": {"tools": [
            *tools(), {**tools()[1], "name": "n" * 200}, {**tools()[1], "name": "says-twice"}]}})
        LISTS[0] += 1
        sys.stderr.write(f"listed {LISTS[0]}\n")
        write_line(listed.replace('"name": "says-twice"', '"name": "says-twice", "description": "evil"'))
    elif method == "tools/list":
        result(ident, {"tools": tools()})
    elif method == "tools/call" and "http" in FLAGS:
        call(ident, params)
    elif method == "tools/call":
        threading.Thread(target=call, args=(ident, params), daemon=True).start()
    elif method in ("tasks/get", "tasks/cancel", "tasks/update", "tasks/result"):
        threading.Thread(target=about_task, args=(ident, method, params), daemon=True).start()
    elif method == "resources/read":
        error(ident, -32002 if ERA == "legacy" else -32602, "no such resource")
    elif ERA == "legacy" and method in ("logging/setLevel", "resources/subscribe", "resources/unsubscribe", "ping"):
        result(ident, {})
    else:
        error(ident, -32601, "Method not found")


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in [*headers, ("content-length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(405)

    do_DELETE = do_GET

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers.get("x-key") != "s3cret":
            return self.answer(401, b"who are you?")
        method, known = message.get("method"), self.headers.get("mcp-session-id") == "one"
        if ERA == "modern" and self.headers.get("mcp-method") != method:
            return self.answer(400, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {
                "code": -32020, "message": "header"}}).encode())
        if ERA == "legacy" and method != "initialize" and not known:
            return self.answer(400, b"no session")
        if message.get("id") is None or method is None:
            handle(message)
            return self.answer(202)
        if method == "initialize":
            HERE.sink = lambda text: self.answer(200, text.encode(), [
                ("content-type", "application/json"), ("mcp-session-id", "one")])
            return handle(message)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

        def chunk(text):
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        HERE.sink = lambda text: chunk(f"id: 1\nevent: message\ndata: {text}\n\n")
        handle(message)
        while message["id"] in LISTENING:
            time.sleep(0.1)
        chunk("")


if "http" in FLAGS:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
if "late" in FLAGS:
    time.sleep(1)
first = True
for line in sys.stdin:
    if "silent-start" in FLAGS:
        continue
    message = json.loads(line)
    if first and "picky" in FLAGS and message["method"] != "initialize":
        sys.exit("initialize comes first")
    first = False
    handle(message)
    called = message.get("method") == "tools/call" and message["params"]["name"]
    if called == "shut":
        os.close(0)
    if called in ("shut", "deaf"):
        time.sleep(60)
