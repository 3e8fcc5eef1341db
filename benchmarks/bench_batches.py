"""Measure batches beside dask.distributed, joblib and the npm package bullmq, where they can do the same.

Rows of ten columns go through a function that does nothing, from the call that takes them to the results. Each
measurement is a fresh process, the peers in turn, on one private server. Wall time on a shared machine moves by up
to 2x: read ratios of one run.

    python benchmarks/bench_batches.py             100,000 rows, a table
    python benchmarks/bench_batches.py --write     the same, and into docs/performance.md
    python benchmarks/bench_batches.py --quick     10,000 rows
    python benchmarks/bench_batches.py --million   1,000,000 rows through flownb, 500 a job; --write too
    python benchmarks/bench_batches.py --steps     100,000 rows of three steps beside one; --write too

dask and joblib are in the extra `bench`: pip install -e ".[bench]".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import pandas as pd  # noqa: E402
from peer_protocol import peak_mb  # noqa: E402
from peers import Peer, prepare_node  # noqa: E402
from private_server import PrivateServer  # noqa: E402
from report import a_million, batches, publish, several_steps  # noqa: E402

DASK_ROWS = 20_000  # 100,000 take dask more than ten minutes on two busy cores
NODE_ROWS = 10_000  # a flow of bullmq's is one call, and 100,000 children in it take more than a gigabyte
STEP_ROUNDS = 3  # of one step and of three, in turn
MILLION, MANY = 1_000_000, "500"  # a nightly's rows, and how many of them a job holds


def frame(rows: int) -> pd.DataFrame:
    """Return rows of ten columns: numbers, times, texts."""
    numbers = range(rows)
    columns: dict[str, Any] = {f"f{i}": [n / (7 + i) for n in numbers] for i in range(4)}
    columns |= {f"i{i}": [n * (i + 1) for n in numbers] for i in range(3)}
    columns |= {"at": pd.date_range("2024-01-01", periods=rows, freq="min")}
    columns |= {
        "text": [f"the text of row {n}" for n in numbers],
        "kind": [("a", "b", "c")[n % 3] for n in numbers],
    }
    return pd.DataFrame(columns)


def nothing(**row: Any) -> None:
    """Do nothing with a row."""


# ---- one measurement in a process of its own -------------------------------------------------------------


def flownb(rows: int, size: str) -> dict[str, float]:
    import flownb as fn

    connection = fn.connect(os.environ["BENCH_URL"])

    @fn.task
    def noop(
        f0: Any, f1: Any, f2: Any, f3: Any, i0: Any, i1: Any, i2: Any, at: Any, text: Any, kind: Any
    ) -> None:
        pass

    table, rows_per_job = frame(rows), size if size == "auto" else int(size)
    with fn.workers(concurrency=4):
        fn.fan_out(table.head(100), noop, name="warm", rows_per_job=rows_per_job).results()
        started, before = time.perf_counter(), peak_mb()
        batch = fn.fan_out(table, noop, name="b", rows_per_job=rows_per_job)
        stored = time.perf_counter()
        batch.wait()
        ended = time.perf_counter()
        results = batch.results()
        done, peak = time.perf_counter(), peak_mb()
    if len(results) != rows:
        raise SystemExit(f"flownb: {len(results)} results of {rows} rows")
    raw = _raw(connection.client(), "bull:noop:*")
    return {
        "seconds": done - started,
        "store": stored - started,
        "results": done - ended,
        "raw": raw,
        "peak_mb": peak,
        "grown_mb": peak - before,
        "json": float(sum(len(row.data) for row in batch._stored.rows.read(inputs=True))),
    }


def steps(rows: int, size: str) -> dict[str, float]:
    """So many rows through `size` steps that do nothing: seconds, and the process's CPU time."""
    import flownb as fn

    fn.connect(os.environ["BENCH_URL"])

    @fn.task
    def first(i0: Any) -> None:
        pass

    @fn.task
    def second(first: Any) -> None:
        pass

    @fn.task
    def third(second: Any) -> None:
        pass

    table, tasks = frame(rows), [first, second, third][: int(size)]
    with fn.workers(concurrency=4):
        fn.fan_out(table.head(100), tasks, name="warm").results()
        started, cpu = time.perf_counter(), time.process_time()
        fn.fan_out(table, tasks, name="b").results()
        return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


def _raw(client: Any, pattern: str) -> float:
    """Seconds to read and decode what the jobs returned, with nothing made of it."""
    keys = [key for key in client.scan_iter(pattern, count=10_000) if key.count(b":") == 2]
    started = time.perf_counter()
    for start in range(0, len(keys), 1000):
        pipe = client.pipeline(transaction=False)
        for key in keys[start : start + 1000]:
            if key.rsplit(b":", 1)[1][:1] in b"rm":
                pipe.hget(key, "returnvalue")
        for text in pipe.execute():
            json.loads(text or "null")
    return time.perf_counter() - started


def producer(rows: int, size: str) -> dict[str, float]:
    """The memory of a process that only adds, in times of the frame's."""
    import flownb as fn

    fn.connect(os.environ["BENCH_URL"])
    fn.fan_out(frame(1000), "nobody", name="warm", rows_per_job=int(size))
    table = frame(rows)
    before = peak_mb()
    fn.fan_out(table, "nobody", name="b", rows_per_job=int(size))
    grown = (peak_mb() - before) * 2**20
    return {"times": grown / float(table.memory_usage(deep=True).sum())}


def dask(rows: int, size: str) -> dict[str, float]:
    from distributed import Client

    table = frame(rows)
    with Client(n_workers=2, threads_per_worker=2, dashboard_address=None) as client:
        client.gather(client.map(_apply, table.head(100).to_dict("records"), pure=False))
        started = time.perf_counter()
        values = client.gather(client.map(_apply, table.to_dict("records"), pure=False))
        pd.Series(values, index=table.index)
        return {"seconds": time.perf_counter() - started}


def joblib(rows: int, size: str) -> dict[str, float]:
    from joblib import Parallel, delayed

    table = frame(rows)
    with Parallel(n_jobs=2) as parallel:
        parallel(delayed(nothing)(**row) for row in table.head(100).to_dict("records"))
        started = time.perf_counter()
        values = parallel(delayed(nothing)(**row) for row in table.to_dict("records"))
        pd.Series(values, index=table.index)
        return {"seconds": time.perf_counter() - started}


def _apply(row: dict[str, Any]) -> None:
    nothing(**row)


# ---- all of them -----------------------------------------------------------------------------------------


def measure(what: str, rows: int, size: str) -> dict[str, float]:
    """Have one thing done in a fresh process, on a fresh server."""
    say(f"{what}, {rows:,} rows, {size} a job")
    # Imported, not run as a script: functions of a script would travel to dask's workers with every call.
    code = f"import json, bench_batches as b; print(json.dumps(b.{what}({rows}, {size!r})))"
    with _server() as server:
        before = server.data_bytes()
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "BENCH_URL": server.url, "PYTHONPATH": paths},
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            say(f"{what}: {last}\n")
            return {}
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return {**found, "bytes": float(server.data_bytes() - before)}


def bullmq(rows: int) -> dict[str, float]:
    """One row a job in bullmq's flow: time to the root's end, and the server's memory."""
    problem = prepare_node()
    if problem:
        print(problem)
        return {}
    say(f"bullmq, {rows:,} rows, 1 a job")
    with _server() as server:
        before = server.data_bytes()
        with Peer("bullmq", server) as peer:
            found = peer.ask(
                "rows", rows=json.loads(frame(rows).to_json(orient="records", date_format="iso"))
            )
        return {"seconds": found["seconds"], "bytes": float(server.data_bytes() - before)}


def _server() -> PrivateServer:
    server = PrivateServer()
    server.set(hash_max_listpack_value=512)  # as flownb's embedded server
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure batches beside dask, joblib and bullmq.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="10,000 rows")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    parser.add_argument("--million", action="store_true", help="1,000,000 rows through flownb")
    parser.add_argument("--steps", action="store_true", help="three steps a row beside one")
    options = parser.parse_args()
    rows = 10_000 if options.quick else options.rows
    if options.steps:
        section = _of_steps(rows)
    else:
        section = _of_a_million() if options.million else _beside_others(rows)
    say("")
    publish(section, write=options.write)


def _of_a_million() -> str:
    tenth, whole = (measure("flownb", rows, MANY) for rows in (MILLION // 10, MILLION))
    return a_million(whole, tenth, MILLION, MANY, _version())


def _of_steps(rows: int) -> str:
    rounds = [[measure("steps", rows, size) for size in ("1", "3")] for _ in range(STEP_ROUNDS)]
    return several_steps([one for one, _ in rounds], [three for _, three in rounds], rows, _version())


def _beside_others(rows: int) -> str:
    figures = {
        f"{what} {size}": measure(what, min(rows, DASK_ROWS) if what == "dask" else rows, size)
        for what, size in (
            ("flownb", "auto"),
            ("flownb", "100"),
            ("dask", "1"),
            ("flownb", "1"),
            ("joblib", "1"),
            ("producer", "100"),
            ("producer", "1"),
        )
    }
    figures["flownb small"] = measure("flownb", NODE_ROWS, "1")
    figures["bullmq"] = bullmq(NODE_ROWS)
    sizes = {"flownb": rows, "joblib": rows, "dask": min(rows, DASK_ROWS)}
    return batches(figures, sizes, NODE_ROWS, _version())


def _version() -> str:
    with PrivateServer() as server:
        return server.version()


def say(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
