"""Measure what flownb's own calls ask of the server: the table of a large flow, a large add, workers without work.

Each round is a fresh program on a fresh private server.

    python benchmarks/bench_requests.py                  five rounds
    python benchmarks/bench_requests.py --write          the same, and into docs/performance.md
    python benchmarks/bench_requests.py --rounds 1
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from private_server import PrivateServer  # noqa: E402
from report import publish, requests_of_calls  # noqa: E402

CHILDREN = 10_000

_START = """
import json, os, statistics, sys, time
import redis
import flownb as fn

server = redis.from_url(os.environ["BENCH_URL"])
fn.connect(os.environ["BENCH_URL"])

def server_seconds():
    about = server.info("cpu")
    return about["used_cpu_sys"] + about["used_cpu_user"]

def scripts():
    return server.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)

def measured(call, times):
    found = []
    for _ in range(times):
        began = time.perf_counter(), time.process_time(), server_seconds(), scripts()
        call()
        ended = time.perf_counter(), time.process_time(), server_seconds(), scripts()
        found.append([end - begin for begin, end in zip(began, ended)])
    wall, client, of_server, calls = map(statistics.median, zip(*found))
    return {"ms": wall * 1e3, "client_ms": client * 1e3, "server_ms": of_server * 1e3, "scripts": calls}

def tree(n):
    children = [
        {"name": f"c-{i}", "queueName": "cs", "data": {"batchId": "b", "index": i, "item": i}} for i in range(n)
    ]
    return {"name": "top", "queueName": "tops", "children": children}
"""

TABLE = """
flow = fn.add(tree(int(sys.argv[1])))
if sys.argv[2] == "done":
    with fn.Worker(["cs", "tops"], lambda job: 1, concurrency=10):
        flow.wait(timeout=600)
flow.jobs()
print(json.dumps(measured(flow.jobs, 5)))
"""

ADD = """
fn.add(tree(2000))
n = int(sys.argv[1])
trees = [tree(n) for _ in range(3)]
def add():
    fn.add(trees.pop())
print(json.dumps(measured(add, 3)))
"""

IDLE = """
import subprocess
def commands():
    found = {name.removeprefix("cmdstat_"): about["calls"] for name, about in server.info("commandstats").items()}
    return sum(calls for name, calls in found.items() if name != "info")

serve = "import os, sys, flownb as fn\\nfn.connect(os.environ['BENCH_URL'])\\n"
serve += "with fn.Worker('q', lambda job: 1):\\n    print('up', flush=True)\\n    sys.stdin.read()"
workers = [
    subprocess.Popen([sys.executable, "-c", serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)
]
for worker in workers:
    worker.stdout.readline()
time.sleep(20)  # until each has seen twice that there is nothing
before, began = commands(), time.monotonic()
time.sleep(int(sys.argv[1]))
rate = (commands() - before) / (time.monotonic() - began)

wakes = []
for _ in range(20):
    added = time.time()
    job = fn.Queue("q").add("j")
    job.wait_until_finished(timeout=60)
    wakes.append(fn.Queue("q").get_job(job.id).processed_on.timestamp() - added)
    time.sleep(0.5)
for worker in workers:
    worker.communicate()
print(json.dumps({"commands_a_second": rate, "wake_ms": statistics.median(wakes) * 1e3}))
"""

PROGRAMS = {
    "table, nothing run yet": [_START + TABLE, str(CHILDREN), "new"],
    "table, all done": [_START + TABLE, str(CHILDREN), "done"],
    "add 1": [_START + ADD, str(CHILDREN)],
    "add 10": [_START + ADD, str(10 * CHILDREN)],
    "idle": [_START + IDLE, "60"],  # seconds
}


def measure() -> dict[str, dict[str, float]]:
    """Run each program once; return what it printed, by name."""
    found = {}
    for name, (program, *arguments) in PROGRAMS.items():
        with PrivateServer() as server:
            found[name] = json.loads(server.run(program, *arguments))
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def medians(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {what: statistics.median(found[name][what] for found in rounds) for what in rounds[0][name]}
        for name in rounds[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what flownb's own calls ask of the server.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    with PrivateServer() as server:
        version = server.version()
    section = requests_of_calls(
        medians([measure() for _ in range(options.rounds)]), CHILDREN, options.rounds, version
    )
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
