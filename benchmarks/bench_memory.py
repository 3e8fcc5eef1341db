"""Measure what rows of a Parquet file take of the server's and the client's memory, where files hold what they return.

A file of three columns, one of them the key, is read piece by piece. The task returns a number; of one row in a
hundred, or in a thousand, it returns an array of 400 kB. So a million rows return four gigabytes, which go to a folder.
Each measurement is a fresh program, producer, worker and reader in one, on a private server; a tenth of the rows goes
first, to show what more add, then twice and five times as many, these with fewer arrays.

    python benchmarks/bench_memory.py                    1,000,000 rows, 2,000,000 (8 GB of the disk), 5,000,000
    python benchmarks/bench_memory.py --write            the same, and into docs/performance.md
    python benchmarks/bench_memory.py --quick            a tenth of that
    python benchmarks/bench_memory.py --rows 5000000 --every 1000       one measurement: so many rows, so many arrays
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from private_server import PrivateServer  # noqa: E402
from report import memory_of_rows, publish  # noqa: E402

MILLION = 1_000_000
ROWS_A_GROUP = 100_000  # of the Parquet file

CLIENT = """
import json, os, resource, sys, time
import flownb as fn
import numpy as np

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

fn.connect(os.environ["BENCH_URL"])
every = int(sys.argv[4])

@fn.task
def measure(x, y):
    return np.full(50_000, y) if every and x % every == 0 else y

began = time.perf_counter()
with fn.workers(concurrency=4):
    batch = fn.fan_out(sys.argv[1], measure, key="id", name="memory", files=sys.argv[2]).wait()
    seconds, run = time.perf_counter() - began, peak_mb()
    results = batch.results()
assert len(results) == int(sys.argv[3])
if every:
    assert results["measure"].iloc[every].load()[0] == every / 7
print(json.dumps({"seconds": seconds, "run_mb": run, "results_mb": peak_mb()}))
"""


def measure(rows: int, every: int) -> dict[str, float]:
    """Have so many rows run, one in `every` returning an array; return the memory they took, in MB.

    Of the server also in bytes a row.
    """
    with tempfile.TemporaryDirectory(prefix="flownb-bench-") as folder, PrivateServer() as server:
        server.set(hash_max_listpack_value=512)  # as flownb's embedded server
        source, files = f"{folder}/rows.parquet", f"{folder}/files"
        write_rows(source, rows)
        before = server.data_bytes()
        found: dict[str, float] = json.loads(server.run(CLIENT, source, files, str(rows), str(every)))
        sizes = [file.stat().st_size for file in Path(files).rglob("*") if file.is_file()]
        grown = server.data_bytes() - before
        return {
            **found,
            "rows": rows,
            "files": len(sizes),
            "files_gb": sum(sizes) / 1e9,
            "server_mb": server.client.info("memory")["used_memory_rss"] / 1e6,
            "bytes_a_row": grown / rows,
        }


def write_rows(path: str, rows: int) -> None:
    schema = pa.schema([("id", pa.int64()), ("x", pa.int64()), ("y", pa.float64())])
    with pq.ParquetWriter(path, schema) as file:
        for start in range(0, rows, ROWS_A_GROUP):
            numbers = np.arange(start, min(start + ROWS_A_GROUP, rows))
            file.write_table(pa.table({"id": numbers, "x": numbers, "y": numbers / 7}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the memory that many rows take.")
    parser.add_argument("--rows", type=int, help="one measurement of so many rows")
    parser.add_argument("--every", type=int, default=100, help="one row in so many returns an array, 0: none")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    if options.rows is not None:
        print(json.dumps(measure(options.rows, options.every)))
        return
    with PrivateServer() as server:
        version = server.version()
    unit = MILLION // 10 if options.quick else MILLION
    steps = [(unit // 10, 100), (unit, 100), (2 * unit, 100), (5 * unit, 1000)]
    runs = []
    for rows, every in steps:
        runs.append(measure(rows, every))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    section = memory_of_rows(runs, version)
    publish(section, write=options.write)


if __name__ == "__main__":
    main()
