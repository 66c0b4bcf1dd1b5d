"""A mesh of real programs with a real Consul, Redis, PostgreSQL, Prometheus, Alertmanager, OpenTelemetry Collector and
Jaeger, all on loopback and on ports of their own. Only the language model and the webhook are this process's.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MESH_TEST_BIN", ROOT / "target/debug"))
DEPLOY = ROOT / "deploy"
PORTS = {"mcp-router": "MCP_ROUTER_PORT", "mesh-gateway": "GATEWAY_PORT", "job-runner": "RUNNER_PORT",
         "mesh-scheduler": "SCHEDULER_PORT", "workflow-runner": "WORKFLOW_RUNNER_PORT"}
# As compose calls them in traces.
NAMES = {"mesh-gateway": "agents-app", "job-runner": "agents-worker"}


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def get(url, timeout=10, headers=None):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as answer:
        return answer.read()


def post(url, body, method="POST"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def until(seconds, what, condition):
    """Tries the condition until it answers something true, and gives that."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = condition()
        except (OSError, ValueError, KeyError, IndexError, subprocess.CalledProcessError):
            answer = None
        if answer:
            return answer
        if time.monotonic() > end:
            raise SystemExit(f"error: {what} did not happen within {seconds} s")
        time.sleep(0.2)


class Model(http.server.BaseHTTPRequestHandler):
    """A language model behind an OpenAI-compatible endpoint, which says the same to everything."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
        text = "A router drains before it ends."
        if request.get("stream"):
            events = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": "stop"}]},
                      {"choices": [], "usage": usage}]
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            kind = "text/event-stream"
        else:
            message = {"role": "assistant", "content": text}
            body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
            kind = "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Webhook(http.server.BaseHTTPRequestHandler):
    """What Alertmanager tells of: each alert with its status, in order."""

    seen = []

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for alert in told["alerts"]:
            self.seen.append((alert["status"], alert["labels"], alert["annotations"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(handler):
    """An HTTP server of this process; gives its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def shortened(rules):
    """The rules with windows of seconds, so that a fault is seen soon: minutes are scraped as seconds."""
    windows = {"[1m]": "[5s]", "[5m]": "[15s]", "[15m]": "[60s]", "[30m]": "[25s]", "[1h]": "[40s]", "[6h]": "[60s]",
               "[1h:1m]": "[40s:1s]", "[6h:5m]": "[60s:1s]", "offset 5m": "offset 15s"}
    rules = re.sub(r"\[[\w:]+\]|offset 5m", lambda it: windows[it[0]], rules)
    rules = re.sub(r"for: \w+", "for: 2s", rules)
    return rules.replace("time() - 900", "time() - 60").replace("> 300", "> 5")


class Mesh:
    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.processes = {}
        self.mounted = []
        self.webhook = serve(Webhook)
        self.model = serve(Model)
        (self.consul, self.redis, self.prometheus, self.alertmanager, self.otlp, self.otlp_http, self.collector_metrics,
         self.jaeger, self.jaeger_otlp, self.postgres, *self.spare) = free_ports(60)
        # By name: where a program serves, and its admin listener. Kept for its next life.
        self.ports = {}
        self.endpoint = f"http://127.0.0.1:{self.otlp}"
        self.out = self.work / "out"
        self.out.mkdir()

    # --- processes

    def start(self, name, *command, **environment):
        log = open(self.work / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.work,
            env={**os.environ, **{key: str(value) for key, value in environment.items()}})
        log.close()
        self.processes[name] = process
        return process

    def program(self, name, program=None, **environment):
        """One of ours, by the name that this test gives it."""
        return self.start(name, BIN / (program or name), **{**self.settings(name, program or name), **environment})

    def mount(self, name, *command, **environment):
        """A mounted MCP server, which is a command of meshctl."""
        settings = self.settings(name, f"{name}-tool")
        return self.start(name, BIN / "meshctl", "mount", "--name", name, "--", *command, **{**settings, **environment})

    def settings(self, name, program):
        if name not in self.ports:
            self.ports[name] = (self.spare.pop(), self.spare.pop())
        port, admin = self.ports[name]
        own = PORTS.get(program) or {"agent": "AGENT_PORT", "tool": "TOOL_PORT", "worker": "WORKER_PORT"}[program.split("-")[-1]]
        return {
            "LISTEN_ADDRESS": "127.0.0.1", "SERVICE_HOST": "127.0.0.1", "ADMIN_ADDRESS": "127.0.0.1", "METRICS_PORT": admin,
            own: port, "CONSUL_HTTP_ADDR": f"127.0.0.1:{self.consul}", "REDIS_URL": f"redis://127.0.0.1:{self.redis}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "CHECK_INTERVAL": "1s",
            "MODEL_URL": f"http://127.0.0.1:{self.model}/v1", "MODEL_NAME": "stub", "OUT_DIR": self.out,
            "DOCS_DIR": ROOT / "docs", "LOG_FORMAT": "text", "QUEUE_SAMPLE": "1s", "DRAIN_DELAY": "1s",
            "DATABASE_URL": f"postgres://postgres@127.0.0.1:{self.postgres}/postgres",
            "OTEL_SERVICE_NAME": NAMES.get(program, "")}

    def admin(self, name):
        return f"http://127.0.0.1:{self.ports[name][1]}"

    def signal(self, name, number):
        self.processes[name].send_signal(number)

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name):
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=30)

    def end(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()
        for path in self.mounted:
            subprocess.run(["umount", "-l", path], check=False)

    # --- who is what

    def start_consul(self):
        dns, server, lan, wan = free_ports(4)
        self.start("consul", "consul", "agent", "-dev", "-node=test", "-log-level=warn", "-bind=127.0.0.1", "-client=127.0.0.1",
                   "-grpc-port=-1", f"-http-port={self.consul}", f"-dns-port={dns}", f"-server-port={server}",
                   f"-serf-lan-port={lan}", f"-serf-wan-port={wan}")
        until(30, "Consul's leader", lambda: get(f"http://127.0.0.1:{self.consul}/v1/status/leader") != b'""')

    def setting(self, key, value):
        """A live setting of the echo agents, in Consul's KV."""
        post(f"http://127.0.0.1:{self.consul}/v1/kv/mesh/services/agent-echo/{key}", value, "PUT")

    def start_redis(self):
        self.start("redis", "redis-server", "--port", self.redis, "--bind", "127.0.0.1", "--save", "", "--maxmemory", "200mb",
                   "--maxmemory-policy", "noeviction")
        until(20, "Redis", lambda: self.redis_cli("ping") == "PONG")

    def start_postgres(self):
        """It refuses root, so that its own user runs it."""
        folder = self.work / "postgres"
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
        # Its user has to come to its folder.
        self.work.chmod(0o755)
        programs = pathlib.Path(shutil.which("initdb") or max(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))).resolve().parent
        subprocess.run([programs / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "-N", "-D", folder / "data"],
                       user="postgres", group="postgres", cwd=folder, check=True, capture_output=True)
        self.start("postgres", "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", programs / "postgres",
                   "-D", folder / "data", "-p", self.postgres, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
        until(30, "PostgreSQL", lambda: socket.create_connection(("127.0.0.1", self.postgres)).close() or True)

    def redis_cli(self, *arguments):
        command = ["redis-cli", "-p", str(self.redis), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def start_jaeger(self):
        ports = free_ports(9)
        at = [f"127.0.0.1:{port}" for port in ports]
        self.start("jaeger", "all-in-one", f"--collector.otlp.grpc.host-port=127.0.0.1:{self.jaeger_otlp}",
                   f"--query.http-server.host-port=127.0.0.1:{self.jaeger}", f"--collector.otlp.http.host-port={at[0]}",
                   f"--query.grpc-server.host-port={at[1]}", f"--collector.grpc-server.host-port={at[2]}",
                   f"--collector.http-server.host-port={at[3]}", f"--admin.http.host-port={at[4]}",
                   f"--processor.jaeger-binary.server-host-port={at[5]}", f"--processor.jaeger-compact.server-host-port={at[6]}",
                   f"--http-server.host-port={at[7]}", f"--processor.zipkin-compact.server-host-port={at[8]}",
                   "--log-level=warn", COLLECTOR_OTLP_ENABLED="true", SPAN_STORAGE_TYPE="memory")
        until(30, "Jaeger", lambda: get(f"http://127.0.0.1:{self.jaeger}/"))

    def start_collector(self, keep=1):
        """As compose runs it, but for where the others are; it decides sooner, and keeps that many of 100 traces."""
        self.start("collector", "otel-collector", "--config", DEPLOY / "otel/collector.yaml", OTLP_ADDRESS="127.0.0.1",
                   OTLP_GRPC_PORT=self.otlp, OTLP_HTTP_PORT=self.otlp_http, COLLECTOR_METRICS_PORT=self.collector_metrics,
                   JAEGER_ENDPOINT=f"127.0.0.1:{self.jaeger_otlp}", TRACE_DECISION_WAIT="3s",
                   TRACE_KEEP_PERCENT=keep)
        until(30, "the collector", lambda: get(f"http://127.0.0.1:{self.collector_metrics}/metrics"))

    def start_alertmanager(self):
        folder = self.work / "alertmanager"
        (folder / "data").mkdir(parents=True)
        config = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
        config = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", config)
        (folder / "alertmanager.yml").write_text(config)
        self.start("alertmanager", "sh", DEPLOY / "alertmanager/start.sh", f"--storage.path={folder / 'data'}",
                   f"--web.listen-address=127.0.0.1:{self.alertmanager}", "--cluster.listen-address=", "--log.level=warn",
                   ALERTMANAGER_CONFIG=folder / "alertmanager.yml", TMPDIR=folder,
                   ALERT_WEBHOOK_URL=f"http://127.0.0.1:{self.webhook}/alerts?a=1&b='2'")
        until(20, "Alertmanager", lambda: get(f"http://127.0.0.1:{self.alertmanager}/-/ready"))

    def start_prometheus(self):
        """With the shipped configuration, its addresses and times replaced."""
        folder = self.work / "prometheus"
        (folder / "rules").mkdir(parents=True)
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        at = {"mcp-router:9090": self.ports["mcp-router"][1], "alertmanager:9093": self.alertmanager, "localhost:9090": self.prometheus,
              "otel-collector:8888": self.collector_metrics}
        # Here is no HAProxy.
        config["scrape_configs"] = [it for it in config["scrape_configs"] if it["job_name"] != "haproxy"]
        text = yaml.safe_dump(config).replace("refresh_interval: 10s", "refresh_interval: 1s")
        for name, port in at.items():
            text = text.replace(name, f"127.0.0.1:{port}")
        (folder / "prometheus.yml").write_text(text)
        (folder / "rules/mesh.yml").write_text(shortened((DEPLOY / "prometheus/rules/mesh.yml").read_text()))
        subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
        self.start("prometheus", "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                   f"--web.listen-address=127.0.0.1:{self.prometheus}", "--enable-feature=exemplar-storage", "--log.level=warn")
        until(30, "Prometheus", lambda: get(f"http://127.0.0.1:{self.prometheus}/-/ready"))

    # --- what they say

    def query(self, expression):
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            return json.loads(get(url))["data"]["result"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"error: {expression}: {error.read().decode()}") from error

    def value(self, expression):
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def traces(self, service, limit=1500):
        url = f"http://127.0.0.1:{self.jaeger}/api/traces?service={service}&limit={limit}&lookback=1h"
        return json.loads(get(url))["data"]
