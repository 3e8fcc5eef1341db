"""Measure how wide rows of `async` functions run: the time beside the ideal, the memory and threads of the process.

Each row awaits `asyncio.sleep`, as a call of a service would. Ideal is rows x seconds / width. Each measurement is a
fresh process that serves its own rows, beside a fresh server; from `fan_out()` to the end of the batch.

    python benchmarks/bench_width.py             print the table
    python benchmarks/bench_width.py --write     the same, and into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from private_server import PrivateServer  # noqa: E402
from report import publish, width  # noqa: E402

#: rows, seconds a row, how many at a time
CASES = ((5_000, 0.5, 200), (20_000, 5.0, 2_000))

PROGRAM = """
import asyncio, json, os, resource, sys, threading, time
sys.modules["pyarrow"] = None  # flownb does not bring it; pandas loads it where it is installed
import flownb as fn
rows, seconds, width = json.loads(sys.argv[1])
fn.connect(os.environ["BENCH_URL"])
@fn.task(concurrency=width)
async def call(n):
    await asyncio.sleep(seconds)
    return n
def megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
with fn.workers():
    fn.fan_out([-1], call).results()
    before, cpu, most, stop = megabytes(), time.process_time(), [0.0, 0], threading.Event()
    def look():
        while not stop.wait(0.05):
            most[:] = max(most[0], megabytes()), max(most[1], threading.active_count())
    threading.Thread(target=look, daemon=True).start()
    started = time.perf_counter()
    batch = fn.fan_out(list(range(rows)), call)
    added = time.perf_counter()
    batch.wait()
    ended = time.perf_counter()
    stop.set()
    assert batch.progress().completed >= rows
    print(json.dumps({"seconds": ended - started, "adding": added - started, "cpu": time.process_time() - cpu,
                      "before": before, "most": most[0], "threads": most[1]}))
"""


def measured(case: tuple[int, float, int]) -> dict[str, Any]:
    """Run one case in a fresh process."""
    with PrivateServer() as server:
        before = server.cpu_us()
        found: dict[str, Any] = json.loads(server.run(PROGRAM, json.dumps(case)))
        return {**found, "server_us": server.cpu_us() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how wide async rows run.")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    section = width({case: measured(case) for case in CASES})
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
