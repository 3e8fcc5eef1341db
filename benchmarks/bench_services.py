"""Measure rows that call a service beside asyncio with tenacity, joblib, dask and ray, each as one would write it.

The service is that of the tests: it answers after 0.1 s, at most 200 calls a second, and says 429 with a Retry-After
beyond that; some of its answers are errors, cut off, or no JSON. Each solution is a file in benchmarks/services/. It
runs twice, in a process of its own: once to the end, and once killed in the middle (kill -9) and started again. What
it asked for is what the service has counted.

    python benchmarks/bench_services.py             three rounds
    python benchmarks/bench_services.py --write     the same, and into docs/performance.md
    python benchmarks/bench_services.py --quick     one round

tenacity, joblib and dask are in the extra `bench`: pip install -e ".[bench]"; ray is measured where it is installed.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from private_server import PrivateServer  # noqa: E402
from report import publish, rows_that_call_a_service  # noqa: E402

from tests.support.service import Service  # noqa: E402

ROWS, ROUNDS = 1_000, 3
CALLS_A_SECOND, ANSWER_SECONDS = 200, 0.1
#: answers that came so long before a kill are the program's: it has had the time to put them somewhere
KEPT_SECONDS = 0.1
#: the module of each solution, and the packages that it needs
SOLUTIONS = {
    "flownb": "flownb",
    "asyncio": "tenacity",
    "joblib": "joblib",
    "dask": "distributed",
    "ray": "ray",
}
BAD = {
    **{str(n): ["500"] for n in range(0, ROWS, 97)},
    **{str(n): ["cut"] for n in range(1, ROWS, 193)},
    **{str(n): ["garbage", "closed"] for n in range(2, ROWS, 389)},
}
KEYS = [str(n) for n in range(ROWS)]

#: Imports and what a notebook has started already are no part of the time.
PROGRAM = """
import importlib, json, os, sys, time
name = sys.argv[1]
keys = json.loads(os.environ["KEYS"])
def abs_of(x):
    return abs(x)
module = importlib.import_module(f"services.with_{name}")
if name == "flownb":
    module.fn.connect(os.environ["BENCH_URL"])
    module.fn.workers()
    module.fn.fan_out([0], module.fn.task(abs_of)).wait()
if name == "ray":
    module.ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
started = time.perf_counter()
found = module.answers(keys)
print(json.dumps([time.perf_counter() - started, found == [key[::-1] for key in keys]]))
if name == "flownb":
    module.fn.workers().close()
"""


class NotRun(Exception):
    """A program ended without its answers: it does not run on this machine."""


class Solution:
    """A file of benchmarks/services/, and how it is run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / "benchmarks" / "services" / f"with_{name}.py"

    def is_installed(self) -> bool:
        return importlib.util.find_spec(SOLUTIONS[self.name]) is not None

    def lines(self) -> int:
        """Return how many lines of code it is: without blank lines, comments and the docstring."""
        text = self.path.read_text(encoding="utf-8")
        docstring = ast.parse(text).body[0]
        lines = text.splitlines()[docstring.end_lineno or 0 :]
        return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)

    def start(self, service: Service, server: PrivateServer, folder: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "BENCH_URL": server.url,
                "SERVICE": service.url,
                "KEYS": json.dumps(KEYS),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *sys.path]),
                "RAY_DISABLE_IMPORT_WARNING": "1",
            },
        )


def seconds_of(process: subprocess.Popen[str], name: str) -> float:
    """Wait for a program; return the seconds that it took for its answers, which are right."""
    printed, _ = process.communicate()
    if process.returncode or not printed.strip():
        raise NotRun(f"{name} ended with {process.returncode}")
    seconds, is_right = json.loads(printed.strip().splitlines()[-1])
    if not is_right:
        raise SystemExit(f"{name}: a row has another answer than it should")
    return float(seconds)


def run_once(solution: Solution) -> dict[str, float]:
    """Let a program run to its end."""
    with _service() as service, PrivateServer() as server, tempfile.TemporaryDirectory() as folder:
        seconds = seconds_of(solution.start(service, server, folder), solution.name)
        return {"seconds": seconds, "calls": len(service.heard()), "needed": needed()}


def run_killed(solution: Solution) -> dict[str, float]:
    """Kill a program when half of its answers have come, and start it again."""
    with _service() as service, PrivateServer() as server, tempfile.TemporaryDirectory() as folder:
        process = solution.start(service, server, folder)
        while len(service.answered()) < ROWS // 2:
            if process.poll() is not None:
                raise NotRun(f"{solution.name} ended with {process.returncode}")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        killed = time.time()
        process.communicate()
        heard = service.heard()
        seconds_of(solution.start(service, server, folder), solution.name)
        kept_before = killed - ANSWER_SECONDS - KEPT_SECONDS
        had = {call.key for call in heard if call.how == "ok" and call.at < kept_before}
        later = Counter(call.key for call in service.heard()[len(heard) :])
        lost = sum(key in later for key in had)
        return {"lost": lost, "repeated": service.answered().total() - ROWS}


@contextmanager
def _service() -> Iterator[Service]:
    # Its window is a little shorter than a second, as calls take some time to reach it.
    with Service(calls=(CALLS_A_SECOND, 0.95), seconds=ANSWER_SECONDS) as service:
        service.script(BAD)
        yield service


def needed() -> int:
    """Return how many calls the answers take: one a row, and one for each bad answer."""
    return ROWS + sum(map(len, BAD.values()))


def measured(solutions: Sequence[Solution], rounds: int) -> dict[str, dict[str, float]]:
    """Run all of them in turn, and return the medians by solution."""
    found: dict[str, list[dict[str, float]]] = {solution.name: [] for solution in solutions}
    for _ in range(rounds):
        for solution in solutions:
            try:
                one = {**run_once(solution), **run_killed(solution)}
            except NotRun as why:
                print(f"{why}: left out", file=sys.stderr, flush=True)
                continue
            found[solution.name].append(one)
            print(solution.name, one, file=sys.stderr, flush=True)
    return {
        solution.name: {
            **{what: statistics.median(one[what] for one in found[solution.name]) for what in _WHAT},
            "lines": solution.lines(),
        }
        for solution in solutions
        if found[solution.name]
    }


_WHAT = ("seconds", "calls", "needed", "lost", "repeated")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure rows that call a service, beside other tools.")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--only", nargs="+", choices=SOLUTIONS, default=list(SOLUTIONS))
    options = parser.parse_args()
    solutions = [one for one in map(Solution, options.only) if one.is_installed()]
    rounds = 1 if options.quick else ROUNDS
    section = rows_that_call_a_service(
        measured(solutions, rounds), ROWS, rounds, f"{CALLS_A_SECOND} a second", ANSWER_SECONDS
    )
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
