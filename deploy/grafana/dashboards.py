#!/usr/bin/env python3
"""Writes the dashboards beside this file, so that all panels look alike: make dashboards.

With --check it writes nothing, and fails where a dashboard is not what this file says.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
ERRORS = 'rpc_response_status_code=~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"'
RATE = "$__rate_interval"


def targets(queries, kind, exemplars):
    """Queries are pairs of an expression and its legend; a heatmap and a table have formats of their own."""
    form = {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series")
    instant = kind in ("stat", "table", "gauge")
    for at, (expr, legend) in enumerate(queries):
        yield {
            "refId": chr(ord("A") + at), "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend,
            "format": form, "instant": instant, "range": not instant, "exemplar": exemplars,
        }


def panel(title, about, unit, *queries, kind="timeseries", width=8, height=7, exemplars=False, stack=False, red=None,
          green=None):
    """One panel. `red` is the value from which it is bad, `green` the one from which it is good."""
    steps = [{"color": "text" if red is None and green is None else "green" if green is None else "red", "value": None}]
    if red is not None:
        steps.append({"color": "red", "value": red})
    if green is not None:
        steps.append({"color": "green", "value": green})
    custom = {}
    options = {}
    if kind == "timeseries":
        custom = {"drawStyle": "line", "fillOpacity": 20 if stack else 8, "lineWidth": 1, "showPoints": "never",
                  "stacking": {"mode": "normal" if stack else "none"},
                  "thresholdsStyle": {"mode": "off" if red is None else "line"}}
        options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    elif kind == "stat":
        options = {"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    elif kind == "heatmap":
        options = {"calculate": False, "cellGap": 1, "color": {"scheme": "Oranges", "mode": "scheme"},
                   "yAxis": {"unit": "s"}, "exemplars": {"color": "rgba(255,0,255,0.7)"}, "legend": {"show": True},
                   "tooltip": {"mode": "single", "yHistogram": True}}
    return {
        "type": kind, "title": title, "description": about, "datasource": PROMETHEUS,
        "targets": list(targets(queries, kind, exemplars)),
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom,
                                     "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
        "options": options, "gridPos": {"w": width, "h": height},
    }


def stat(title, about, expr, unit="none", **rest):
    return panel(title, about, unit, (expr, ""), kind="stat", width=4, height=4, **rest)


def row(title, repeat=None):
    made = {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}}
    return made | ({"repeat": repeat} if repeat else {})


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": PROMETHEUS, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
            "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}


def dashboard(name, title, variables, panels):
    """Panels flow from left to right; a row begins a new line."""
    x = y = height = 0
    for at, one in enumerate(panels):
        place = one["gridPos"]
        if one["type"] == "row" or x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        one["id"] = at + 1
        one["gridPos"] = {"x": x, "y": y, **place}
        x, height = x + place["w"], max(height, place["h"])
    choose = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1,
              "current": {}}
    links = [{"type": "dashboards", "title": "Mesh", "tags": ["mesh"], "asDropdown": False, "keepTime": True,
              "includeVars": False, "icon": "external link"}]
    return {
        "uid": f"mesh-{name}", "title": title, "tags": ["mesh"], "schemaVersion": 39, "version": 1, "editable": True,
        "graphTooltip": 1, "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "annotations": {"list": [{"name": "Alerts", "enable": True, "iconColor": "red", "datasource": PROMETHEUS,
                                  "expr": 'ALERTS{alertstate="firing",alertname=~"Mesh.*"}', "titleFormat": "{{alertname}}",
                                  "textFormat": "{{service}} {{mesh_instance}}", "step": "15s"}]},
        "templating": {"list": [choose, *variables]}, "links": links, "panels": panels,
    }


def quantiles(bucket, by="", factors=(0.5, 0.95, 0.99), legend=""):
    """The percentiles of a histogram, of everything or by a label."""
    inner = f"sum by (le{', ' + by if by else ''}) (rate({bucket}[{RATE}]))"
    for factor in factors:
        yield f"histogram_quantile({factor}, {inner})", f"p{factor * 100:g}{' ' + legend if legend else ''}"


def rate(counter, *labels, legend=None):
    """How much a counter grows in a second, by labels. It is 0 where there is nothing to count."""
    by = f" by ({', '.join(labels)}) " if labels else ""
    return f"sum{by}(rate({counter}[{RATE}])) or vector(0)", legend or " ".join(f"{{{{{label}}}}}" for label in labels)


def overview():
    calls = 'rpc_server_call_duration_seconds_bucket{service!~"|_OTHER"}'
    return dashboard("overview", "Mesh: overview", [], [
        stat("Programs up", "Programs that answer Prometheus.", 'sum(up{job="mesh"})', green=1),
        stat("Programs down", "Registered programs that do not answer. Alert: MeshProcessDown.",
             'count(up{job="mesh"} == 0) or vector(0)', red=1),
        stat("Not ready", "Programs whose /readyz is not 200. Alert: MeshHealthCheckFailing.",
             "count(mesh_ready == 0) or vector(0)", red=1),
        stat("Services without an instance", "Alert: MeshNoHealthyInstance.",
             'count(max by (service) (mesh_balance_endpoints{state="usable"}) == 0) or vector(0)', red=1),
        stat("Registry", "1: it answers every program.", "min(mesh_registry_up)", green=1),
        stat("Alerts", "Alerts that fire now.", 'count(ALERTS{alertstate="firing"}) or vector(0)', red=1),

        row("Calls"),
        panel("Requests per second", "Calls to each service as their callers see them.", "reqps",
              ("service:mesh_calls:rate5m", "{{service}}")),
        panel("Errors", "Share of calls that failed by the server's fault. Alert: MeshErrorRateHigh.", "percentunit",
              ("service:mesh_error_ratio:rate5m", "{{service}}"), red=0.05),
        panel("Latency", "Of all calls at the routers. Points are sampled calls: they lead to their traces.", "s",
              *quantiles(calls), exemplars=True),
        panel("Latency histogram", "How many calls took how long.", "s",
              (f"sum by (le) (rate({calls}[{RATE}]))", "{{le}}"), kind="heatmap", width=12, exemplars=True),
        panel("Latency p95 by service", "Alert: MeshLatencyHigh, where it is above the aim.", "s",
              ("histogram_quantile(0.95, service_le:mesh_call_seconds:rate5m)", "{{service}}"), width=12),

        row("Health"),
        panel("Programs up", "By service.", "none", ('sum by (mesh_service) (up{job="mesh"})', "{{mesh_service}}"), stack=True),
        panel("Ready", "By service.", "none", ("sum by (mesh_service) (mesh_ready)", "{{mesh_service}}"), stack=True),
        panel("Usable instances", "As the routers see them.", "none",
              ('max by (service) (mesh_balance_endpoints{state="usable"})', "{{service}}")),

        row("Resources"),
        panel("CPU", "Cores in use. Alert: MeshCpuHigh, at 80 % of a program's limit.", "none",
              (f'sum by (mesh_service) (rate(process_cpu_seconds_total{{job="mesh"}}[{RATE}]))', "{{mesh_service}}"), stack=True),
        panel("Memory", "Resident. Alert: MeshMemoryHigh, at 80 % of a program's limit.", "bytes",
              ('sum by (mesh_service) (process_resident_memory_bytes{job="mesh"})', "{{mesh_service}}"), stack=True),
        panel("Disk free", "Share of the disk. Alert: MeshDiskLow, below 10 %.", "percentunit",
              ("mesh_disk_free_bytes / mesh_disk_size_bytes", "{{mesh_instance}} {{path}}")),
        panel("Network", "Of the network namespaces of the programs, loopback too.", "Bps",
              (f"sum by (direction) (rate(process_network_bytes_total[{RATE}]))", "{{direction}}")),
        panel("Store connections", "Alert: MeshStoreConnectionsExhausted, above 90 % of the limit.", "none",
              ("max(mesh_store_clients)", "in use"), ("max(mesh_store_clients_limit)", "limit")),
        panel("Queue length", "Jobs that wait. Alert: MeshQueueBacklog.", "none",
              ('max by (queue) (mesh_jobs_queue_length{status="queued"})', "{{queue}}")),
    ])


def service():
    of = 'service=~"$service"'
    one = 'service=~"$service",instance="$instance"'
    calls = f'rpc_server_call_duration_seconds_bucket{{{of}}}'
    count = f"rpc_server_call_duration_seconds_count{{{of}}}"
    return dashboard("service", "Mesh: service", [
        variable("service", "Service", 'label_values(rpc_server_call_duration_seconds_count{service!=""}, service)'),
        variable("instance", "Instance", 'label_values(mesh_instance_calls{service=~"$service"}, instance)'),
    ], [
        row("Calls at the routers"),
        panel("Requests per second", "By status.", "reqps",
              (f"sum by (rpc_response_status_code) (rate({count}[{RATE}]))", "{{rpc_response_status_code}}"), stack=True),
        panel("Errors", "Share of calls that failed by the server's fault. Alerts: MeshErrorRateHigh, MeshErrorBudgetBurn.",
              "percentunit",
              (f'(sum by (service) (rate({count[:-1]},{ERRORS}}}[{RATE}])) or 0 * sum by (service) (rate({count}[{RATE}])))'
               f' / sum by (service) (rate({count}[{RATE}]))', "{{service}}"), red=0.05),
        panel("Latency", "Points are sampled calls: they lead to their traces. Alert: MeshLatencyHigh.", "s",
              *quantiles(calls), (f"max(mesh_slo_latency_seconds{{{of}}})", "aim"), exemplars=True),
        panel("Latency histogram", "How many calls took how long.", "s",
              (f"sum by (le) (rate({calls}[{RATE}]))", "{{le}}"), kind="heatmap", width=12, exemplars=True),
        panel("Methods", "Calls a second.", "reqps",
              (f"sum by (rpc_method) (rate({count}[{RATE}]))", "{{rpc_method}}"), width=12),

        row("Balancing"),
        panel("Instances", "By state.", "none",
              (f"max by (service, state) (mesh_balance_endpoints{{{of}}})", "{{service}} {{state}}")),
        panel("Retries and hedges", "Attempts after the first, a second.", "ops",
              (f"sum by (service, reason) (rate(mesh_balance_retries_total{{{of}}}[{RATE}])) or vector(0)", "{{service}} {{reason}}"),
              (f"sum by (service) (rate(mesh_balance_hedges_total{{{of}}}[{RATE}])) or vector(0)", "{{service}} hedged")),
        panel("Retry budget", "Retries that are allowed now. Alert: MeshRetryBudgetExhausted, at 0.", "none",
              (f"min by (service) (mesh_balance_retry_budget{{{of}}})", "{{service}}")),
        panel("Calls that wait", "For an instance that can take them.", "none",
              (f"sum by (service) (mesh_balance_queue_waiting{{{of}}})", "{{service}}")),
        panel("Calls that no instance took", "A second.", "ops",
              (f"sum by (service) (rate(mesh_balance_queue_refused_total{{{of}}}[{RATE}])) or vector(0)", "{{service}}")),
        panel("Ejections", "A second, by reason. Alert: MeshInstancesEjected.", "ops",
              (f"sum by (service, reason) (rate(mesh_balance_ejections_total{{{of}}}[{RATE}])) or vector(0)", "{{service}} {{reason}}")),
        panel("Calls by caller", "Of programs that call others, a second.", "reqps",
              (f"sum by (mesh_service) (rate(rpc_client_call_duration_seconds_count{{{of}}}[{RATE}]))", "{{mesh_service}}"),
              width=12),
        panel("Latency p95 by caller", "A call with all its attempts.", "s",
              *quantiles(f"rpc_client_call_duration_seconds_bucket{{{of}}}", "mesh_service", (0.95,), "{{mesh_service}}"), width=12),

        row("$instance", repeat="instance"),
        panel("Calls in flight", "From all callers.", "none",
              (f"sum by (instance) (mesh_instance_calls{{{one}}})", "{{instance}}"), width=6),
        panel("Attempts per second", "From all callers.", "reqps",
              (f"sum by (instance) (rate(mesh_instance_picks_total{{{one}}}[{RATE}]))", "{{instance}}"), width=6),
        panel("Latency as balanced", "What the callers' balancers reckon with.", "s",
              (f"mesh_instance_latency_seconds{{{one}}}", "{{mesh_instance}}"), width=6),
        panel("Weight, and ejected", "Ejected: how many callers send it nothing.", "none",
              (f"max by (instance) (mesh_instance_weight{{{one}}})", "weight"),
              (f"sum by (instance) (mesh_instance_ejected{{{one}}})", "ejected"), width=6),
    ])


def jobs():
    of = 'queue=~"$queue"'
    done = f"mesh_jobs_attempts_total{{{of}"
    return dashboard("jobs", "Mesh: jobs", [
        variable("queue", "Queue", "label_values(mesh_jobs_queue_length, queue)"),
    ], [
        stat("Store", "1: the store answers every program. Alert: MeshStoreDown.", "min(mesh_store_up)", green=1),
        stat("Runners", "Runners that answer Prometheus. Alert: MeshRunnersMissing.",
             'sum(up{mesh_service="job-runner"}) or vector(0)', green=1),
        stat("Waiting", "Jobs that could run now.", f'sum(max by (queue) (mesh_jobs_queue_length{{{of},status="queued"}}))'),
        stat("Running", "Attempts under way.", f"sum(mesh_jobs_running{{{of}}}) or vector(0)"),
        stat("Oldest", "How long the next in line has waited. Alert: MeshQueueBacklog.",
             f"max(mesh_jobs_oldest_queued_seconds{{{of}}})", unit="s", red=300),
        stat("Dead", "Jobs that were given up. Alert: MeshJobsDead.",
             f'sum(max by (queue) (mesh_jobs_queue_length{{{of},status="dead"}}))', red=1),

        row("Queue"),
        panel("Queue length", "Jobs that are not done, by status.", "none",
              (f'max by (queue, status) (mesh_jobs_queue_length{{{of},status!~"succeeded|cancelled"}})', "{{queue}} {{status}}")),
        panel("Submitted", "Jobs a second, by what became of the request.", "ops",
              (f"sum by (kind, outcome) (rate(mesh_jobs_submitted_total[{RATE}]))", "{{kind}} {{outcome}}")),
        panel("Wait", "From when an attempt was due to its start.", "s", *quantiles(f"mesh_jobs_wait_duration_seconds_bucket{{{of}}}")),

        row("Attempts"),
        panel("Success and failure", "Attempts a second, by outcome.", "ops",
              (f"sum by (outcome) (rate({done}}}[{RATE}]))", "{{outcome}}"), stack=True),
        panel("Failed share", "Of the attempts that ended.", "percentunit",
              (f'(sum by (kind) (rate({done},outcome!="succeeded"}}[{RATE}])) or 0 * sum by (kind) (rate({done}}}[{RATE}])))'
               f" / sum by (kind) (rate({done}}}[{RATE}]))", "{{kind}}")),
        panel("Job latency", "How long attempts run.", "s",
              *quantiles(f"mesh_jobs_run_duration_seconds_bucket{{{of}}}", "kind", (0.5, 0.95), "{{kind}}"), exemplars=True),
        panel("Job latency histogram", "How many attempts took how long.", "s",
              (f"sum by (le) (rate(mesh_jobs_run_duration_seconds_bucket{{{of}}}[{RATE}]))", "{{le}}"), kind="heatmap", width=12),
        panel("Running by runner", "A line an instance.", "none",
              (f"sum by (mesh_instance) (mesh_jobs_running{{{of}}})", "{{mesh_instance}}"), width=12),

        row("Store"),
        panel("Connections", "Alert: MeshStoreConnectionsExhausted, above 90 % of the limit.", "none",
              ("max(mesh_store_clients)", "in use"), ("max(mesh_store_clients_limit)", "limit")),
        panel("Memory", "Alert: MeshStoreMemoryHigh, above 90 % of the limit.", "bytes",
              ("max(mesh_store_memory_bytes)", "in use"), ("max(mesh_store_memory_limit_bytes)", "limit")),
        panel("Commands p95", "How long the store takes.", "s",
              *quantiles("mesh_store_command_duration_seconds_bucket", "command", (0.95,), "{{command}}")),

        row("Language models"),
        panel("Tokens per second", "By model and direction.", "none",
              (f"sum by (gen_ai_request_model, gen_ai_token_type) (rate(gen_ai_client_token_usage_sum[{RATE}]))",
               "{{gen_ai_request_model}} {{gen_ai_token_type}}"), width=12),
        panel("Model latency", "How long a request takes.", "s",
              *quantiles("gen_ai_client_operation_duration_seconds_bucket", "gen_ai_request_model", (0.5, 0.95),
                         "{{gen_ai_request_model}}"), width=12),
    ])


def mcp():
    of = 'service=~"$service"'
    called = f"mesh_mcp_tool_calls_total{{{of}"
    return dashboard("mcp", "Mesh: MCP", [
        variable("service", "Service", "label_values(mesh_mcp_tool_calls_total, service)"),
    ], [
        stat("Sessions", "Of clients before revision 2026-07-28.", "sum(mesh_mcp_sessions) or vector(0)"),
        stat("Streams of changes", "Clients that hear of new tools. Alert: MeshMcpFull.",
             'sum(mesh_mcp_streams{kind="changes"}) or vector(0)'),
        stat("Streams of calls", "Calls that answer bit by bit.", 'sum(mesh_mcp_streams{kind="call"}) or vector(0)'),
        stat("Mounts", "Mounted servers.", "count(mesh_mount_up) or vector(0)"),
        stat("Mounts down", "Without a connection to their server. Alert: MeshMountDown.",
             "count(mesh_mount_up == 0) or vector(0)", red=1),
        stat("Tools blocked", "They changed and wait for approval. Alert: MeshToolsBlocked.",
             "sum(mesh_mount_blocked_tools) or vector(0)", red=1),

        row("Calls of tools"),
        panel("Calls per second", "By service.", "reqps",
              rate(called + "}", "service")),
        panel("Outcomes", "Error: the tool says so. Failed: there was no answer. Task: it goes on as a job.", "ops",
              rate(called + "}", "outcome"), stack=True),
        panel("Failed share", "Errors and failures of all calls. Alert: MeshToolCallsFailing, above half.", "percentunit",
              (f'(sum by (service) (rate({called},outcome=~"error|failed"}}[{RATE}])) or 0 * sum by (service) (rate({called}}}[{RATE}])))'
               f" / (sum by (service) (rate({called}}}[{RATE}])) > 0) or vector(0)", "{{service}}"), red=0.5),
        panel("Latency by kind of tool", "p95 of the calls to services of each kind, as the gateway measures them.", "s",
              ('histogram_quantile(0.95, sum by (le, kind) (label_replace('
               f'rate(rpc_client_call_duration_seconds_bucket{{mesh_service="mesh-gateway",{of},service!="_OTHER"}}[{RATE}]), '
               '"kind", "$1", "service", "([a-z]+)-.*")))', "{{kind}}"), width=12),
        panel("Latency of tools/call", "From the request of the client to its result.", "s",
              *quantiles('mesh_mcp_operation_duration_seconds_bucket{mcp_method_name="tools/call"}'), exemplars=True, width=12),

        row("Clients"),
        panel("Requests per second", "By method of MCP.", "reqps",
              rate("mesh_mcp_operation_duration_seconds_count", "mcp_method_name")),
        panel("Errors per second", "Requests by the code of their error.", "ops",
              rate('mesh_mcp_operation_duration_seconds_count{outcome!~"ok|tool_error|cancelled"}', "outcome")),
        panel("Refused per second", "Before they were read: host, token, scope, rate or full.", "ops",
              rate("mesh_mcp_refused_total", "reason")),
        panel("Sessions and streams by gateway", "A line an instance.", "none",
              ("mesh_mcp_sessions", "{{mesh_instance}} sessions"),
              ("mesh_mcp_streams or vector(0)", "{{mesh_instance}} {{kind}}"), width=12),
        panel("Passed on", "Requests a second whose session another gateway has.", "ops",
              rate("mesh_mcp_passed_on_total", "outcome"), width=12),

        row("Mounted servers"),
        panel("Connected", "1: the server answers. Alert: MeshMountDown.", "none",
              ("mesh_mount_up or vector(1)", "{{mesh_instance}}")),
        panel("Requests per second", "To mounted servers, by outcome.", "ops",
              rate("mesh_mount_requests_total", "mesh_service", "outcome")),
        panel("Starts and dropped messages", "A second. A server that starts again and again ends by itself.", "ops",
              rate("mesh_mount_starts_total", "mesh_service", legend="{{mesh_service}} starts"),
              rate("mesh_mount_dropped_messages_total", "mesh_service", "reason")),
    ])


def workflows():
    return dashboard("workflows", "Mesh: workflows", [], [
        stat("Shards", "Of 64, with a runner. Alert: MeshWorkflowRunnersMissing.", "sum(mesh_workflow_shards) or vector(0)", green=64),
        stat("Runs in memory", "That are under way or wait.", "sum(mesh_workflow_runs_in_memory) or vector(0)"),
        stat("Nodes in flight", "As jobs.", "sum(mesh_workflow_nodes_in_flight) or vector(0)"),
        stat("Nodes held", "Their owner has max_nodes_in_flight in flight.", "sum(mesh_workflow_nodes_held) or vector(0)"),
        stat("Approvals that wait", "Asked and not decided since the runners began.",
             'clamp_min(sum(mesh_workflow_approvals_total{event="asked"}) - sum(mesh_workflow_approvals_total{event=~"decided|expired"}), 0)'
             " or vector(0)"),
        stat("Failed", "Runs within the range. Alert: MeshWorkflowsFailing.",
             "sum(increase(mesh_workflow_failed_total[$__range])) or vector(0)", red=1),

        row("Runs"),
        panel("Asked for", "Runs a second, taken in or refused.", "ops",
              rate("mesh_workflow_starts_total", "outcome")),
        panel("Ended", "Runs a second.", "ops",
              rate("mesh_workflow_completed_total", legend="completed"),
              rate("mesh_workflow_failed_total", legend="failed"),
              rate("mesh_workflow_cancelled_total", legend="cancelled"), stack=True),
        panel("Failed share", "Of the runs that ended. Alert: MeshWorkflowsFailing, above 5 %.", "percentunit",
              (f"sum(rate(mesh_workflow_failed_total[{RATE}])) / (sum(rate(mesh_workflow_failed_total[{RATE}]))"
               f" + sum(rate(mesh_workflow_completed_total[{RATE}])) > 0) or vector(0)", "failed"), red=0.05),
        panel("Duration of runs", "Waiting included.", "s", *quantiles("mesh_workflow_run_duration_seconds_bucket"), width=12),
        panel("Runs and nodes by runner", "A line an instance.", "none",
              ("mesh_workflow_runs_in_memory or vector(0)", "{{mesh_instance}} runs"),
              ("mesh_workflow_nodes_in_flight or vector(0)", "{{mesh_instance}} nodes"), width=12),

        row("Nodes and people"),
        panel("Nodes", "A second, by what happened.", "ops",
              rate("mesh_workflow_nodes_total", "event")),
        panel("Approvals", "A second, by what happened.", "ops",
              rate("mesh_workflow_approvals_total", "event")),
        panel("Patches", "A second, by what became of them.", "ops",
              rate("mesh_workflow_patches_total", "result")),

        row("Runners and their store"),
        panel("Commit", "Duration of one transaction.", "s", *quantiles("mesh_workflow_commit_duration_seconds_bucket")),
        panel("Shards by runner", "Alert: MeshWorkflowRunnersMissing, below 64 in all.", "none",
              ("mesh_workflow_shards or vector(0)", "{{mesh_instance}}"), stack=True),
        panel("Lost shards, refused commits, jobs made again", "A second.", "ops",
              rate("mesh_workflow_shards_lost_total", "why", legend="lost: {{why}}"),
              rate("mesh_workflow_commits_refused_total", legend="refused"),
              rate("mesh_workflow_resubmitted_total", legend="made again")),
    ])


def runtime():
    of = 'mesh_service=~"$program"'
    one = 'mesh_instance="$instance"'
    return dashboard("runtime", "Mesh: runtime", [
        variable("program", "Program", "label_values(mesh_build_info, mesh_service)"),
        variable("instance", "Instance", 'label_values(mesh_build_info{mesh_service=~"$program"}, mesh_instance)'),
    ], [
        panel("Instances", "What runs, and since when.", "none",
              (f"mesh_build_info{{{of}}}", ""), kind="table", width=16),
        panel("Uptime", "A line an instance. Alert: MeshRestarting.", "s",
              (f"time() - process_start_time_seconds{{{of}}}", "{{mesh_instance}}")),

        row("All instances"),
        panel("CPU of the limit", "Alert: MeshCpuHigh, above 80 %.", "percentunit",
              (f"rate(process_cpu_seconds_total{{{of}}}[{RATE}]) / process_cpu_limit_cores{{{of}}}", "{{mesh_instance}}"), red=0.8),
        panel("Memory of the limit", "Alert: MeshMemoryHigh, above 80 %.", "percentunit",
              (f"process_resident_memory_bytes{{{of}}} / process_memory_limit_bytes{{{of}}}", "{{mesh_instance}}"), red=0.8),
        panel("Event loop lag p99", "How late tasks run. High: a thread is busy or blocked.", "s",
              *quantiles(f"mesh_loop_lag_seconds_bucket{{{of}}}", "mesh_instance, thread", (0.99,), "{{mesh_instance}} {{thread}}")),
        panel("Open files of the limit", "Sockets too.", "percentunit",
              (f"process_open_fds{{{of}}} / process_max_fds{{{of}}}", "{{mesh_instance}}")),
        panel("Registry's last answer", "Seconds since. Alert: MeshRegistryUnreachable.", "s",
              (f"mesh_registry_last_answer_seconds{{{of}}}", "{{mesh_instance}}")),
        panel("Registry's answers", "A second, by outcome.", "ops",
              (f"sum by (outcome) (rate(mesh_registry_answers_total{{{of}}}[{RATE}]))", "{{outcome}}")),
        panel("Disk free", "Share of the disk. Alert: MeshDiskLow, below 10 %.", "percentunit",
              (f"mesh_disk_free_bytes{{{of}}} / mesh_disk_size_bytes{{{of}}} or vector(1)", "{{mesh_instance}} {{path}}")),
        panel("Telemetry dropped", "Spans, logs and lines a second. Alert: MeshTelemetryDropping.", "ops",
              (f"sum by (mesh_service, signal, reason) (rate(mesh_telemetry_dropped_total{{{of}}}[{RATE}])) or vector(0)",
               "{{mesh_service}} {{signal}} {{reason}}")),
        panel("Refused", "Calls and connections beyond a client's limit, a second; settings. Alert: MeshConfigRefused.", "none",
              (f"sum by (key) (rate(mesh_client_refused_total{{{of}}}[{RATE}])) or vector(0)", "{{key}}"),
              (f"sum by (source) (mesh_config_refused{{{of}}}) or vector(0)", "settings from {{source}}")),
        panel("Calls in the relay", "Of the routers.", "none", ("sum by (mesh_instance) (mesh_relay_calls)", "{{mesh_instance}}")),
        panel("Connections of the relay", "Of the routers, with clients and with instances.", "none",
              ("sum by (mesh_instance, side) (mesh_relay_connections)", "{{mesh_instance}} {{side}}")),
        panel("Memory of the relay", "Of the routers: what is kept for calls, and has to be written.", "bytes",
              ("sum by (mesh_instance) (mesh_relay_memory_bytes)", "{{mesh_instance}}")),

        row("$instance", repeat="instance"),
        panel("CPU", "Cores in use.", "none",
              (f"rate(process_cpu_seconds_total{{{one}}}[{RATE}])", "in use"),
              (f"process_cpu_limit_cores{{{one}}}", "limit"), width=6),
        panel("Memory", "Resident.", "bytes",
              (f"process_resident_memory_bytes{{{one}}}", "in use"), (f"process_memory_limit_bytes{{{one}}}", "limit"), width=6),
        panel("Network", "Of its network namespace, loopback too.", "Bps",
              (f"rate(process_network_bytes_total{{{one}}}[{RATE}])", "{{direction}}"), width=6),
        panel("Disk", "Read and written.", "Bps", (f"rate(process_io_bytes_total{{{one}}}[{RATE}])", "{{direction}}"), width=6),
    ])


def main():
    stale = []
    for made in (overview(), service(), jobs(), mcp(), workflows(), runtime()):
        file = FOLDER / f"{made['uid'].removeprefix('mesh-')}.json"
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if "--check" in sys.argv[1:]:
            if not file.exists() or file.read_text() != text:
                stale.append(file.name)
        else:
            file.write_text(text)
    if stale:
        sys.exit(f"error: {', '.join(stale)}: not what deploy/grafana/dashboards.py says: run `make dashboards`")


if __name__ == "__main__":
    main()
