"""From figures to a table, and to docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from peers import CONCURRENCY, NODE

Figures = Mapping[str, Mapping[str, list[float]]]  # what -> peer -> one value a round


class Row(NamedTuple):
    """One figure of the table."""

    what: str
    title: str
    more_is_better: bool = False
    least: float = 0  #: the first mark: how many times better flownb is to be
    most: float = 0  #: the first mark: flownb's figure at most


def rows(n: int) -> list[Row]:
    return [
        Row("add_rate", f"adding a parent with {n:,} children, jobs/s", True, least=4),
        Row("add_server_us", "… server CPU, µs a job"),
        Row("add_client_us", "… client CPU, µs a job"),
        Row("add_rss", "… client's peak memory, MB"),
        Row("bytes", "… memory in the server, bytes a job"),
        Row("bytes_embedded", "… the same, settings of the embedded server"),
        Row("drain_rate", f"draining {n:,} no-op jobs, one worker process, jobs/s", True, least=1),
        Row("drain_server_us", "… server CPU, µs a job"),
        Row("drain_client_us", "… worker CPU, µs a job"),
        Row("drain_rss", "… worker's peak memory, MB"),
        Row("values", f"the {n:,} children's values, read in the root, ms"),
        Row("poll_new", "one progress poll, nothing run yet, ms", least=50),
        Row("poll_done", "one progress poll, all done, ms", least=50),
        Row("chain", "a chain of four, median of 100, ms"),
        Row("chain_p99", "… 99th of 100, ms"),
        Row("chain_result", "… median until `flow.result()` returns, ms"),
        Row("import", "`import flownb`, best of 5, ms", most=150),
    ]


def table(figures: Figures, n: int) -> str:
    """Return a Markdown table: median (min..max) of each peer, and how many times flownb is better."""
    lines = ["| | flownb | bullmq (npm) | flownb is better by | first mark |", "|---|---:|---:|---:|---|"]
    for row in rows(n):
        ours, theirs = figures[row.what].get("flownb"), figures[row.what].get("bullmq")
        times = 0.0
        if ours and theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            times = ratio if row.more_is_better else 1 / ratio
        better = f"{_figure(times)}x" if times else ""
        lines.append(
            f"| {row.title} | {_spread(ours)} | {_spread(theirs)} | {better} | {_mark(row, times, ours)} |"
        )
    return "\n".join(lines)


def _mark(row: Row, times: float, ours: list[float] | None) -> str:
    if row.least and times:
        return f"{row.least:g}x: {'met' if times >= row.least else 'missed'}"
    if row.most and ours:
        return f"under {row.most:g}: {'met' if statistics.median(ours) < row.most else 'missed'}"
    return ""


def _spread(values: list[float] | None) -> str:
    if not values:
        return ""
    middle = _figure(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_figure(min(values))}..{_figure(max(values))})"


def _figure(value: float) -> str:
    """Three digits, or whole numbers.

    >>> _figure(12345.6), _figure(12.34), _figure(0.1234)
    ('12,346', '12.3', '0.123')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def batches(
    figures: Mapping[str, Mapping[str, float]], rows: Mapping[str, int], node_rows: int, server: str
) -> str:
    """Return the section on batches."""

    def ratio(ours: str, theirs: str, what: str = "seconds") -> str:
        one, other = figures[ours].get(what), figures[theirs].get(what)
        return f"{_figure(one / other)}x" if one and other else "not measured"

    def a_row(name: str) -> float:
        """Microseconds."""
        return figures[name].get("seconds", 0) / rows[name.split()[0]] * 1e6

    def line(title: str, name: str, mark: str = "") -> str:
        ours, dask = a_row(name), a_row("dask 1")
        beside = f"{_figure(ours / dask)}x" if ours and dask else "not measured"
        return f"| {title} | {rows[name.split()[0]]:,} | {_figure(ours)} | {beside} | {mark} |"

    times = [
        line('flownb, `rows_per_job="auto"`, for the first time', "flownb auto"),
        line("flownb, `rows_per_job=100`", "flownb 100", "under 0.25x"),
        line("flownb, `rows_per_job=1`", "flownb 1", "under 1x"),
        line(f"dask.distributed {_version('distributed')}, `client.map`", "dask 1"),
        line(f"joblib {_version('joblib')}, `Parallel(n_jobs=2)`", "joblib 1"),
    ]

    many, single = figures["flownb 100"], figures["flownb 1"]
    results = [f"{found['results'] / found['raw']:.2g}x" for found in (many, single)]
    in_server = _figure(many["bytes"] / many["json"])
    return f"""\
## Batches

{rows["flownb"]:,} rows of ten columns, a task that does nothing, from `fan_out()` to `results()`. Measured by

    .venv/bin/python benchmarks/bench_batches.py --write

{server}, unix socket, no persistence, `hash-max-listpack-value 512`. flownb with 4 threads in the process that
asks, dask with two workers of two threads, joblib with two processes: all on the same {os.cpu_count()} cores,
shared with other work.

| | rows | µs a row | beside dask | mark |
|---|---:|---:|---:|---|
{chr(10).join(times)}

| | flownb | mark |
|---|---:|---|
| the producer's memory beside the frame's, 100 rows a job | {_times(figures["producer 100"])} | at most 3x |
| … 1 row a job | {_times(figures["producer 1"])} | at most 3x |
| memory in the server beside the JSON text of the rows, 100 rows a job | {in_server}x | at most 1.5x |
| … beside bullmq's for {node_rows:,} rows, 1 a job | {ratio("flownb small", "bullmq", "bytes")} | at most 1.1x |
| time for {node_rows:,} rows, 1 a job, beside bullmq's flow | {ratio("flownb small", "bullmq")} | |
| `results()` beside reading and decoding the bytes raw, 100 rows a job | {results[0]} | at most 3x |
| … 1 row a job | {results[1]} | at most 3x |

dask and joblib keep the rows in memory: when the process dies, rows and results are gone.
"""


def _times(found: Mapping[str, float]) -> str:
    return f"{_figure(found['times'])}x" if found else "not measured"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def a_million(
    found: Mapping[str, float], tenth: Mapping[str, float], rows: int, size: str, server: str
) -> str:
    """Return the section on very many rows; `tenth` is what a tenth of them came to in the same run."""
    a_row = found["seconds"] / tenth["seconds"] / 10
    reading = found["results"] / found["raw"]
    memory = found["bytes"] / found["json"]
    return f"""\
## A million rows

{rows:,} rows of the same ten columns, {size} a job, in the process that asks. Measured by

    .venv/bin/python benchmarks/bench_batches.py --million --write

| {server}, unix socket, no persistence | |
|---|---:|
| from `fan_out()` to `results()`, s | {_figure(found["seconds"])} |
| … of which until the rows are on the server, s | {_figure(found["store"])} |
| … a row, beside one of {rows // 10:,} rows in the same run | {_figure(a_row)}x |
| `results()` beside reading and decoding the bytes raw | {_figure(reading)}x |
| memory in the server, results included, beside the JSON text of the rows | {_figure(memory)}x |
"""


def large_global(medians: Mapping[str, float], rounds: Mapping[str, Sequence[float]]) -> str:
    """Return the section on a function that reads a large global in processes."""
    lines = [
        f"| {name} | {_figure(medians[name])} ({_figure(min(times))}..{_figure(max(times))}) |"
        for name, times in rounds.items()
    ]
    return f"""\
## A large global in processes

40 rows through a function of a cell that reads an array of 160 MB, in two processes that run already and do not have
the array yet, with other work on both cores. Measured by

    .venv/bin/python benchmarks/bench_processes.py --write

| | s, from the rows to the results, {len(rounds["flownb"])} rounds |
|---|---:|
{chr(10).join(lines)}

flownb sends a function with what it uses to each process once, as a copy that rows may write to and that stays there
for the next batch. joblib {_version("joblib")} puts a large array into a file, which its processes map and cannot
write to.
"""


def write_section(path: Path, text: str) -> None:
    """Put a section into the page, in place of the one of that title if there is one."""
    title = text.partition("\n")[0]
    before, _, after = path.read_text(encoding="utf-8").partition(title)
    _, next_title, behind = after.partition("\n## ")
    before = before if after else before.rstrip("\n") + "\n\n"
    path.write_text(before + text + next_title + behind, encoding="utf-8")


def section_of(path: Path) -> str:
    """Return the section on batches, and what stands behind it."""
    _, title, text = path.read_text(encoding="utf-8").partition("## Batches")
    return title + text


def page(figures: Figures, n: int, rounds: int, server: str) -> str:
    """Return docs/performance.md."""
    return f"""\
# Performance

Measured by `make bench`; this page was written by

    .venv/bin/python benchmarks/bench_flows.py --write

{machine(server)}

{table(figures, n)}

Cells are median (min..max) of {rounds} rounds. *Better by* is the ratio of the medians: above 1, flownb is ahead.
Wall time on a shared machine moves by up to 2x from run to run, so read ratios of one table, and CPU per job.

## How it is measured

* Both sides use one private server, emptied before each measurement; each measurement runs in a fresh process,
  the two sides in turn. Both first do the same work once with {min(n // 10, 1000):,} children, to warm up.
* **Adding**: one call of the producer with a parent and its children, `data` as in the parallel guide
  (`{{batchId, index, item}}`). Memory is the server's, before and after, without its clients' buffers.
  It is given twice: with the server's own settings, and with those of flownb's embedded server
  (`hash-max-listpack-value 512`).
* **Draining**: a started, idle worker process and a flow in a paused queue; from resuming it to the root's end.
  The root reads all children's values, and their count and sum are checked. bullmq runs with concurrency
  {CONCURRENCY["bullmq"]}, flownb with {CONCURRENCY["flownb"]}, as in the guide:
  `--scan` drains with 1 to 100, and none is clearly best.
* **Polling**: `flow.progress()` beside `getFlow` with `maxChildren` of {n:,}; each must show all the children.
* **A chain of four**: each stage the only child of the next, concurrency 1, one flow after another, producer and
  worker in one process, from adding to the root's end.
* Worker CPU is that of the worker process; flownb's small lease keeper beside it is not in it.

`--quick` runs 2,000 children in 2 rounds; `--only flownb` needs no Node; `--profile add` and `--profile drain` show
where flownb's own time goes, in the client by thread and in the server by command.
"""


def machine(server: str) -> str:
    """Describe what it ran on: cores and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("redis", "hiredis", "msgpack"))
    return (
        f"{platform.system()}, {os.cpu_count()} cores ({platform.machine()}), shared with other work. "
        f"{server}, unix socket, no persistence. Python {platform.python_version()}, {packages}. {_node()}"
    )


def _node() -> str:
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    node = told.strip().removeprefix("v")
    wanted = json.loads((NODE / "package.json").read_text())["dependencies"]
    packages = ", ".join(f"{name} {version}" for name, version in wanted.items())
    return f"Node {node}, {packages}. Concurrency: bullmq {CONCURRENCY['bullmq']}, flownb {CONCURRENCY['flownb']}."
