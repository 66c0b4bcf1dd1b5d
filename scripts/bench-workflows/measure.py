#!/usr/bin/env python3
"""measure.py PID... -- COMMAND...: runs a load generator, and adds to its line of JSON what the load cost in CPU.

The generator prints `begin` before the load, `end` after it, and then its line. Counted is the CPU time of the command
and of the named processes, with all that descend from them: those that have ended are counted by their parents."""
import json
import os
import subprocess
import sys

TICK = os.sysconf("SC_CLK_TCK")


def processes():
    """Parent and seconds of CPU of each process, those of its ended children among them."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICK)
    return found


def cpu(roots):
    """Seconds of CPU of each root and all below it."""
    all_processes = processes()
    children = {}
    for pid, (parent, _) in all_processes.items():
        children.setdefault(parent, []).append(pid)
    sums = []
    for root in roots:
        left, total = [root], 0.0
        while left:
            pid = left.pop()
            total += all_processes.get(pid, (0, 0.0))[1]
            left.extend(children.get(pid, []))
        sums.append(total)
    return sums


def main():
    split = sys.argv.index("--")
    named = [int(pid) for pid in sys.argv[1:split]]
    child = subprocess.Popen(sys.argv[split + 1:], stdout=subprocess.PIPE, text=True)
    roots, before, after = [child.pid, *named], None, None
    for line in child.stdout:
        word = line.strip()
        if word == "begin":
            before = cpu(roots)
        elif word == "end":
            after = cpu(roots)
        elif word.startswith("{"):
            answer = json.loads(word)
            if before and after:
                spent = [b - a for a, b in zip(before, after)]
                answer["cpu_ms"] = round(sum(spent) * 1000 / answer["n"], 4)
                answer["cpu_ms_each"] = [round(one * 1000 / answer["n"], 4) for one in spent]
            print(json.dumps(answer), flush=True)
        else:
            print(word, file=sys.stderr)
    sys.exit(child.wait())


main()
