"""Measure rows that go through a model of scikit-learn in processes: many at a time, one at a time, and with joblib.

2,000 pictures of digits, a table of 64 columns, go through a random forest of 100 trees, which each of two processes
loads from a file when it first needs it; the processes run already. Each measurement is a fresh process, in turn.

    python benchmarks/bench_models.py             three rounds
    python benchmarks/bench_models.py --write     the same, and into docs/performance.md

scikit-learn and joblib are in the extra `bench`: pip install -e ".[bench]".
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from private_server import in_turn  # noqa: E402
from report import publish, rows_through_a_model  # noqa: E402

ROWS, PROCESSES, ROUNDS = 2_000, 2, 3

# Each is a program, so that its functions are those of a cell: they travel to the processes.
CELL = f"""
import os, time
import joblib, pandas as pd
from sklearn.datasets import load_digits
pictures = load_digits(as_frame=True).data
frame = pictures.sample({ROWS}, replace=True, random_state=0, ignore_index=True)
path, processes = os.environ["BENCH_MODEL"], {PROCESSES}
"""
FLOWNB = f"""{CELL}
import flownb as fn
fn.connect(os.environ["BENCH_URL"])
@fn.task
def nothing(x):
    return x
with fn.workers(processes, executor="processes"):
    fn.fan_out(list(range(100)), nothing, rows_per_job=1).results()
    started = time.perf_counter()
    def load_model():
        return joblib.load(path)
    @fn.task(BATCH setup={{"model": load_model}})
    def digit(ROWS, model):
        return CALL
    found = fn.fan_out(frame, digit).results()["digit"].tolist()
    print(time.perf_counter() - started)
assert found == joblib.load(path).predict(frame).tolist()
"""
MANY = (
    FLOWNB.replace("BATCH", "batch_size=250,").replace("ROWS", "rows").replace("CALL", "model.predict(rows)")
)
ONE = (
    FLOWNB.replace("BATCH", "")
    .replace("ROWS", "row")
    .replace("CALL", "int(model.predict(pd.DataFrame([row]))[0])")
)
JOBLIB = f"""{CELL}
from joblib import Parallel, delayed
with Parallel(n_jobs=processes) as parallel:
    parallel(delayed(abs)(x) for x in range(100))
    started = time.perf_counter()
    def digits(rows):
        return joblib.load(path).predict(rows)
    parts = [frame.iloc[at : at + 250] for at in range(0, len(frame), 250)]
    found = [value for part in parallel(delayed(digits)(part) for part in parts) for value in part.tolist()]
    print(time.perf_counter() - started)
assert found == joblib.load(path).predict(frame).tolist()
"""
PROGRAMS = {
    "flownb, `batch_size=250`": MANY,
    "flownb, a row a call": ONE,
    "joblib, parts of 250 by hand": JOBLIB,
}


def make_model(path: str) -> None:
    """Train the forest and write it into a file."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    digits = load_digits(as_frame=True)
    joblib.dump(RandomForestClassifier(100, random_state=0).fit(digits.data, digits.target), path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure rows through a model in processes, beside joblib.")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "digits.joblib")
        make_model(model)
        found = in_turn(PROGRAMS, ROUNDS, BENCH_MODEL=model)
    section = rows_through_a_model(found)
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
