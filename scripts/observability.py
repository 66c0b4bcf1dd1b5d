"""What the rules and dashboards of deploy/ say: their alerts and queries.

Run as a program it checks them without a Prometheus: every query parses, every metric and label is one of the guide's
table, every alert has a runbook and tests, and the dashboards are what their generator writes. `queries` lists
them for scripts/test-observability.sh.
"""

import json
import pathlib
import re
import subprocess
import sys

import promql_parser
import yaml

ROOT = pathlib.Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/rules/mesh.yml"
TESTS = ROOT / "deploy/prometheus/tests"
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
RUNBOOKS = ROOT / "docs/runbooks"
GUIDE = ROOT / "docs/guide/observing.md"
# What every series of Prometheus has, and what a target of the mesh has.
TARGET_LABELS = {"job", "instance", "mesh_service", "mesh_instance", "mesh_kind", "mesh_version"}
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity", "service", "queue"}}
SECTIONS = ["## What users notice", "## Look", "## Causes, the likeliest first", "## Cure"]


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts():
    return [rule["alert"] for rule in rules() if "alert" in rule]


def plain(query, window="1m", of=".*"):
    """A query as Grafana would send it, with all of a variable's values chosen."""
    query = query.replace("$__rate_interval", window).replace("$__range", window)
    # A variable that a row is repeated for is compared by `=`.
    query = re.sub(r'="\$\w+"', f'=~"{of}"', query)
    return re.sub(r"\$\w+", of, query)


def panels():
    """Dashboard, panel and query, for each query of each panel."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield file.stem, panel["title"], target["expr"]


def other_queries():
    """What dashboards ask beside their panels: the values of variables, and annotations."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(file.read_text())
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
                yield file.stem, variable["name"], f"count by ({inner[2]}) ({inner[1]})"
        for annotation in dashboard["annotations"]["list"]:
            yield file.stem, annotation["name"], annotation["expr"]


def metrics():
    """Series and their labels, by the guide's table, plus what the rules record."""
    table = GUIDE.read_text().split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]
    known = dict(OF_PROMETHEUS)
    for name, labels in re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.M):
        labels = set(re.findall(r"`(\w+)`", labels))
        known[name] = labels
        # Of which names are histograms the table does not tell.
        known |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": labels | {"le"}}
    for rule in rules():
        if "record" in rule:
            known[rule["record"]] = set(rule["record"].split(":")[0].split("_"))
    return known


def selectors(query):
    """The series that a query reads, with the labels that it compares."""
    found = []

    def visit(node):
        # Of a range the selector within is no node of its own.
        selector = getattr(node, "vector_selector", node)
        if isinstance(selector, promql_parser.VectorSelector):
            found.append((selector.name, {matcher.name for matcher in selector.matchers.matchers}))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def check_query(where, query, known):
    try:
        read = selectors(plain(query))
    except ValueError as error:
        yield f"{where}: {query}: {error}"
        return
    for name, labels in read:
        # A query for several names at once has none.
        if name is None:
            continue
        if name not in known:
            yield f"{where}: {name} is no metric of docs/guide/observing.md"
        elif unknown := labels - known[name] - TARGET_LABELS:
            yield f"{where}: {name} has no label {', '.join(sorted(unknown))}"


def check_alerts():
    fires, quiet = set(), set()
    for file in TESTS.glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    index = (RUNBOOKS / "README.md").read_text()
    names = alerts()
    for rule in rules():
        if "alert" not in rule:
            continue
        name = rule["alert"]
        runbook = RUNBOOKS / f"{name}.md"
        if rule["labels"].get("severity") not in ("critical", "warning"):
            yield f"{name}: severity is neither critical nor warning"
        if not rule["annotations"].get("summary"):
            yield f"{name}: no summary"
        if rule["annotations"].get("runbook") != f"docs/runbooks/{name}.md":
            yield f"{name}: its runbook should be docs/runbooks/{name}.md"
        if not runbook.exists():
            yield f"{name}: docs/runbooks/{name}.md is missing"
        else:
            text = runbook.read_text()
            yield from (f"{runbook.name}: no `{section}`" for section in SECTIONS if section not in text)
            look = text.split("## Look")[-1].split("\n## ")[0]
            if "## Look" in text and look.count("```") != 6:
                yield f"{runbook.name}: three commands are expected, each in a block of its own"
        if f"({name}.md)" not in index:
            yield f"docs/runbooks/README.md does not list {name}"
        if name not in fires or name not in quiet:
            yield f"{name}: deploy/prometheus/tests needs a case in which it fires and one in which it does not"
    for runbook in RUNBOOKS.glob("Mesh*.md"):
        if runbook.stem not in names:
            yield f"docs/runbooks/{runbook.name}: there is no such alert"
    for file in sorted(DASHBOARDS.glob("*.json")):
        for name in sorted(set(re.findall(r"\bMesh[A-Z]\w+", file.read_text())) - set(names)):
            yield f"{file.name}: there is no alert {name}"


def check():
    known = metrics()
    wrong = list(check_alerts())
    for runbook in sorted(RUNBOOKS.glob("Mesh*.md")):
        for query in re.findall(r"--data-urlencode 'query=(.*)'$", runbook.read_text(), re.M):
            wrong += check_query(runbook.name, query, known)
    for rule in rules():
        wrong += check_query(rule.get("alert") or rule["record"], rule["expr"], known)
    for dashboard, title, query in [*panels(), *other_queries()]:
        wrong += check_query(f"{dashboard}, {title}", query, known)
    generator = ROOT / "deploy/grafana/dashboards.py"
    wrong += subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True).stderr.splitlines()
    for line in dict.fromkeys(wrong):
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    check()
