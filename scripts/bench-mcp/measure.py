"""What a process tree has used, and streams that stay open.

usage: measure.py cpu PID          nanoseconds of CPU of it and its children
       measure.py memory PID       resident bytes of it
       measure.py listen URL N     opens N listen streams, says so, and holds them until it is ended
       measure.py sessions URL N   opens N sessions of the earlier era, and leaves them
"""

import glob
import json
import os
import signal
import socket
import sys
from urllib.parse import urlsplit


def cpu(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            total += int(open(path).read().split()[0])
        except OSError:
            pass  # the thread has ended meanwhile
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            total += sum(cpu(int(child)) for child in open(path).read().split())
        except OSError:
            pass
    return total


def memory(pid):
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def listen(url, count):
    at = urlsplit(url)
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    streams = []
    for number in range(count):
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "subscriptions/listen", "params": params})
        stream = socket.create_connection((at.hostname, at.port))
        head = (
            f"POST {at.path} HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-type: application/json\r\n"
            "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n"
            f"mcp-method: subscriptions/listen\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        stream.sendall((head + body).encode())
        answer = stream.recv(4096)
        assert b" 200 " in answer.split(b"\r\n")[0], answer
        streams.append(stream)
    print("open", flush=True)
    signal.pause()


def sessions(url, count):
    at = urlsplit(url)
    client = {"name": "bench", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    request = (
        f"POST {at.path} HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-type: application/json\r\n"
        f"accept: application/json, text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    stream = socket.create_connection((at.hostname, at.port))
    left = count
    while left > 0:
        together = min(left, 50)
        stream.sendall(request * together)
        answers = b""
        # Each answer names its session once, and its head comes before its body.
        while answers.count(b"mcp-session-id: ") < together or not answers.endswith(b"}"):
            more = stream.recv(1 << 16)
            assert more, answers[-500:]
            answers += more
        left -= together
    print("open", flush=True)


what, *rest = sys.argv[1:]
if what in ("listen", "sessions"):
    {"listen": listen, "sessions": sessions}[what](rest[0], int(rest[1]))
else:
    print({"cpu": cpu, "memory": memory}[what](int(rest[0])))
