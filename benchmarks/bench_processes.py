"""Measure what a cell's function costs in processes when it reads a large global, beside joblib.

40 rows go through a function of ``__main__`` that reads an array of 160 MB, in two processes that run already: from the
call that takes the rows to the results. Each measurement is a fresh process, the two in turn.

    python benchmarks/bench_processes.py             five rounds
    python benchmarks/bench_processes.py --write     the same, and into docs/performance.md

joblib is in the extra `bench`: pip install -e ".[bench]".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from private_server import in_turn  # noqa: E402
from report import large_global, publish  # noqa: E402

ROWS, PROCESSES, ROUNDS = 40, 2, 5

# Each is a program, so that its functions are those of a cell: they travel to the processes, and with them the array.
CELL = f"""
import os, time
import numpy as np
table = np.arange(20_000_000, dtype="float64")
def look(x):
    return float(table[x])
rows, processes = {ROWS}, {PROCESSES}
"""
FLOWNB = f"""{CELL}
import flownb as fn
fn.connect(os.environ["BENCH_URL"])
@fn.task
def nothing(x):
    return x
look = fn.task(look)
with fn.workers(processes, executor="processes"):
    fn.fan_out(list(range(100)), nothing, rows_per_job=1).results()
    started = time.perf_counter()
    found = fn.fan_out(list(range(rows)), look, rows_per_job=1).results()["look"].tolist()
    print(time.perf_counter() - started)
assert found == list(range(rows))
"""
JOBLIB = f"""{CELL}
from joblib import Parallel, delayed
with Parallel(n_jobs=processes) as parallel:
    parallel(delayed(abs)(x) for x in range(100))
    started = time.perf_counter()
    found = parallel(delayed(look)(x) for x in range(rows))
    print(time.perf_counter() - started)
assert found == list(range(rows))
"""
PROGRAMS = {"flownb": FLOWNB, "joblib": JOBLIB}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a large global in processes, beside joblib.")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    section = large_global(in_turn(PROGRAMS, ROUNDS))
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
