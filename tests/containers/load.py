"""Calls the echo agent through one address until told to stop, and says how many calls succeeded and how many failed.

Usage: load.py ADDRESS STOP_FILE [CHANNELS]

It ends when STOP_FILE exists. Every call has 60 s, is made once (gRPC's own transparent retries apart) and must bring
its own input back, so a call that never ended is counted as failed. Prints `ok=N failed=N slowest=S` and up to five
failures; exits 1 when a call failed or none was made.
"""

import concurrent.futures
import os
import sys
import time

import grpc

METHOD = "/agentplatform.AgentService/ExecuteTask"


def field(number, text):
    """A string field of a protobuf message; the text is shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(text)]) + text.encode()


def client(address, stop, name):
    """Calls one after the other on a connection of its own, since each stands for a client."""
    ok, failures, slowest = 0, [], 0.0
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary(METHOD)
        while not os.path.exists(stop):
            text = f"{name}-{ok}"
            began = time.monotonic()
            try:
                answer = call(field(1, text) + field(2, "agent-echo") + field(3, text), timeout=60)
                if f"Echo Agent Response: {text}".encode() in answer:
                    ok += 1
                else:
                    failures.append(f"a wrong answer: {answer!r}")
            except grpc.RpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
    return ok, failures, slowest


def main():
    address, stop = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda number: client(address, stop, f"client-{number}"), range(count)))
    ok = sum(result[0] for result in results)
    failures = [failure for result in results for failure in result[1]]
    print(f"ok={ok} failed={len(failures)} slowest={max(result[2] for result in results):.2f}s")
    for failure in failures[:5]:
        print(f"  {failure}")
    return 0 if ok and not failures else 1


sys.exit(main())
