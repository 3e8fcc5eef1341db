"""From figures to a table, and to docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from peers import CONCURRENCY, NODE

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

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
        better = f"{figure(times)}x" if times else ""
        lines.append(
            f"| {row.title} | {spread(ours)} | {spread(theirs)} | {better} | {_mark(row, times, ours)} |"
        )
    return "\n".join(lines)


def _mark(row: Row, times: float, ours: list[float] | None) -> str:
    if row.least and times:
        return f"{row.least:g}x: {'met' if times >= row.least else 'missed'}"
    if row.most and ours:
        return f"under {row.most:g}: {'met' if statistics.median(ours) < row.most else 'missed'}"
    return ""


def spread(values: list[float] | None) -> str:
    if not values:
        return ""
    middle = figure(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({figure(min(values))}..{figure(max(values))})"


def figure(value: float) -> str:
    """Three digits, or whole numbers.

    >>> figure(12345.6), figure(12.34), figure(0.1234)
    ('12,346', '12.3', '0.123')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def batches(
    figures: Mapping[str, Mapping[str, float]], rows: Mapping[str, int], node_rows: int, server: str
) -> str:
    """Return the section on batches."""

    def ratio(ours: str, theirs: str, what: str = "seconds") -> str:
        one, other = figures[ours].get(what), figures[theirs].get(what)
        return f"{figure(one / other)}x" if one and other else "not measured"

    def a_row(name: str) -> float:
        """Microseconds."""
        return figures[name].get("seconds", 0) / rows[name.split()[0]] * 1e6

    def line(title: str, name: str, mark: str = "") -> str:
        ours, dask = a_row(name), a_row("dask 1")
        beside = f"{figure(ours / dask)}x" if ours and dask else "not measured"
        return f"| {title} | {rows[name.split()[0]]:,} | {figure(ours)} | {beside} | {mark} |"

    times = [
        line('flownb, `rows_per_job="auto"`, for the first time', "flownb auto"),
        line("flownb, `rows_per_job=100`", "flownb 100", "under 0.25x"),
        line("flownb, `rows_per_job=1`", "flownb 1", "under 1x"),
        line(f"dask.distributed {_version('distributed')}, `client.map`", "dask 1"),
        line(f"joblib {_version('joblib')}, `Parallel(n_jobs=2)`", "joblib 1"),
    ]

    many, single = figures["flownb 100"], figures["flownb 1"]
    results = [f"{found['results'] / found['raw']:.2g}x" for found in (many, single)]
    in_server = figure(many["bytes"] / many["json"])
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
    return f"{figure(found['times'])}x" if found else "not measured"


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
| from `fan_out()` to `results()`, s | {figure(found["seconds"])} |
| … of which until the rows are on the server, s | {figure(found["store"])} |
| … a row, beside one of {rows // 10:,} rows in the same run | {figure(a_row)}x |
| `results()` beside reading and decoding the bytes raw | {figure(reading)}x |
| memory in the server, results included, beside the JSON text of the rows | {figure(memory)}x |
"""


def several_steps(
    one: Sequence[Mapping[str, float]], three: Sequence[Mapping[str, float]], rows: int, server: str
) -> str:
    """Return the section on rows of several steps; the rounds of `one` and `three` ran in turn."""

    def line(what: str, of: str, mark: str = "") -> str:
        few, many = (
            statistics.median(found[of] for found in rounds if found) * 1e6 / rows for rounds in (one, three)
        )
        return f"| {what} | {figure(few)} | {figure(many)} | {figure(many / few)}x | {mark} |"

    return f"""\
## Several steps a row

{rows:,} rows through one task that does nothing, and through three in a list, from `fan_out()` to `results()`. Measured
by

    .venv/bin/python benchmarks/bench_batches.py --steps --write

{server}, unix socket, no persistence, medians of {len(one)} rounds in turn, on a shared machine.

| µs a row | one step | three steps | | mark |
|---|---:|---:|---:|---|
{line("from the call to the results", "seconds", "at most 3.5x")}
{line("… CPU of the process", "cpu")}
"""


def memory_of_rows(runs: Sequence[Mapping[str, float]], server: str) -> str:
    """Return the section on the memory that rows take; `runs` are of ever more rows."""
    few, many = runs[0], runs[-1]
    more = many["rows"] - few["rows"]
    added = (many["bytes_a_row"] * many["rows"] - few["bytes_a_row"] * few["rows"]) / more
    in_client = [(many[what] - few[what]) * 2**20 / more for what in ("run_mb", "results_mb")]
    lines = [
        f"| {one['rows']:,.0f} | {one['files']:,.0f}: {one['files_gb']:.1f} GB | {one['server_mb']:.0f} | "
        f"{one['bytes_a_row']:.0f} | {one['run_mb']:.0f} | {one['results_mb']:.0f} |"
        for one in runs
    ]
    return f"""\
## What rows take of memory

A Parquet file of three columns, one of them the key, goes through a task that returns a number, and for one row in a
hundred an array of 400 kB (of 5,000,000 rows for one in a thousand), with `files=`. Producer, worker and reader are one
program. Measured by

    .venv/bin/python benchmarks/bench_memory.py --write

| rows | files | the server, MB | … bytes a row | the client's peak until all have run, MB | … with `results()`, MB |
|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

{server}, unix socket, no persistence. A further row takes {added:.0f} bytes of the server, {in_client[0]:.0f} of the
client's until it has run, and {in_client[1]:.0f} with its result: a column in which some rows have files holds its
numbers as objects, of 40 bytes each, a column of numbers alone takes nine.
"""


def _medians(rounds: Mapping[str, Sequence[float]]) -> list[str]:
    """The lines of a table: each program's median, least and most of its rounds."""
    return [
        f"| {name} | {figure(statistics.median(times))} ({figure(min(times))}..{figure(max(times))}) |"
        for name, times in rounds.items()
    ]


def large_global(rounds: Mapping[str, Sequence[float]]) -> str:
    """Return the section on a function that reads a large global in processes."""
    lines = _medians(rounds)
    return f"""\
## A large global in processes

40 rows through a function of a cell that reads an array of 160 MB, in two processes that run already and do not have
the array yet, on a shared machine. Measured by

    .venv/bin/python benchmarks/bench_processes.py --write

| | s, from the rows to the results, {len(rounds["flownb"])} rounds |
|---|---:|
{chr(10).join(lines)}

flownb sends a function with what it uses to each process once, as a copy that rows may write to and that stays there
for the next batch. joblib {_version("joblib")} puts a large array into a file, which its processes map and cannot
write to.
"""


def width(cases: Mapping[tuple[int, float, int], Mapping[str, Any]]) -> str:
    """Return the section on async rows; each case is rows, seconds a row, and how many run at a time."""
    heads = ["rows", "ideal, s", "took, s", "beside the ideal", "of it adding, s", "CPU a row, µs"]
    heads += ["server CPU a row, µs", "memory before and at most, MB", "threads"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    load = os.getloadavg()[1]
    for (rows, seconds, most), found in cases.items():
        ideal = rows * seconds / most
        lines.append(
            f"| {rows:,} of {seconds:g} s, {most:,} at a time | {ideal:.1f} | {found['seconds']:.1f} | "
            f"{found['seconds'] / ideal:.3f}x | {found['adding']:.1f} | {found['cpu'] / rows * 1e6:,.0f} | "
            f"{found['server_us'] / rows:,.0f} | {found['before']:.0f}, {found['most']:.0f} | {found['threads']} |"
        )
    return f"""\
## Rows that wait

Rows of `async def` with `await asyncio.sleep(...)`, as calls of a service, of a task with `concurrency=`; ideal is
rows x seconds / width. One process adds the rows and runs them, on a shared machine (load {load:.0f}).
Measured by

    .venv/bin/python benchmarks/bench_width.py --write

{chr(10).join(lines)}

A row takes no thread: those counted are the worker's own, and pandas'. Memory before has pandas in it; where pyarrow is
installed, which flownb does not bring, pandas loads it, and all is some 36 MB more.
"""


def rows_through_a_model(rounds: Mapping[str, Sequence[float]]) -> str:
    """Return the section on rows that go through a model in processes."""
    lines = _medians(rounds)
    return f"""\
## Rows through a model

2,000 pictures of digits, a table of 64 columns, through a random forest of 100 trees (scikit-learn
{_version("scikit-learn")}), which each of two processes loads from a file when it first needs it; the processes run
already, on a shared machine. Measured by

    .venv/bin/python benchmarks/bench_models.py --write

| | s, from the rows to the results, {len(next(iter(rounds.values())))} rounds |
|---|---:|
{chr(10).join(lines)}

`@fn.task(batch_size=250, setup={{"model": load_model}})` gives the function up to 250 rows as one DataFrame, and the
model: what a call of scikit-learn costs is paid once for 250 rows. joblib {_version("joblib")} is given the same parts,
cut and put together by hand, and loads the model for each: a function of a cell has nowhere to keep it there. It stores
no row, repeats none, and fails as a whole with one bad row.
"""


def requests_of_calls(
    found: Mapping[str, Mapping[str, float]], children: int, rounds: int, server: str
) -> str:
    """Return the section on what flownb's own calls ask of the server."""
    idle = found["idle"]
    titles = {
        "table, nothing run yet": "`flow.jobs()`, nothing run yet",
        "table, all done": "… all done",
        "add 1": f"`fn.add` of {children:,} children",
        "add 10": f"… of {10 * children:,}",
    }
    lines = [
        f"| {title} | {figure(found[name]['ms'])} | {figure(found[name]['client_ms'])} | "
        f"{figure(found[name]['server_ms'])} | {found[name]['scripts']:.0f} |"
        for name, title in titles.items()
    ]
    return f"""\
## What calls ask of the server

A flow of {children:,} children in one queue. Measured by

    .venv/bin/python benchmarks/bench_requests.py --write

{server}, unix socket, no persistence, medians of {rounds} rounds, each a fresh program and server, on a shared machine
(load {os.getloadavg()[1]:.0f}).

| | ms | client CPU, ms | server CPU, ms | scripts called |
|---|---:|---:|---:|---:|
{chr(10).join(lines)}

A tree is checked as a whole before its first job is sent; from then on each call is made ready while the server is busy
with the one before.

Three idle workers, a process each, send {idle["commands_a_second"]:.2f} commands a second together, those inside
scripts counted. A job that is added starts {idle["wake_ms"]:.0f} ms later (median of 20).
"""


def goals_of_a_run(
    table: str,
    times: Callable[..., float],
    rounds: int,
    minutes: float,
    server: str,
    loads: Sequence[str],
) -> str:
    """Return the section on goals; `times` says how many times as much a peer came to as another one."""
    py = times("add_rate", of="bullmq-py"), times("drain_rate", of="bullmq-py")
    beside = (
        f"Beside the package bullmq of PyPI flownb adds {figure(py[0])} and drains {figure(py[1])} times as fast."
        if all(py)
        else ""
    )
    return f"""\
## Goals

What flownb is meant to come to beside Node's BullMQ and beside a client that does nothing but batch
(`benchmarks/bare_client.py`), all in one run. Measured by

    .venv/bin/python benchmarks/bench_goals.py --write

{server}, unix socket, no persistence, medians of so many rounds in turn: {rounds}, in {minutes:.0f} minutes, on a
shared machine (load {loads[0]} at the start, {loads[1]} over its last quarter of an hour).

{table}

{beside}
"""


def publish(section: str, *, write: bool) -> None:
    """Print a section; with `write` put it into docs/performance.md, in place of one with its title."""
    print(section)
    if not write:
        return
    title = section.partition("\n")[0]
    before, _, after = PAGE.read_text(encoding="utf-8").partition(title)
    _, next_title, behind = after.partition("\n## ")
    before = before if after else before.rstrip("\n") + "\n\n"
    PAGE.write_text(before + section + next_title + behind, encoding="utf-8")


def section_of(path: Path) -> str:
    """Return the section on batches, and what stands behind it."""
    _, title, text = path.read_text(encoding="utf-8").partition("## Batches")
    return title + text


def page(figures: Figures, n: int, rounds: int, server: str) -> str:
    """Return docs/performance.md."""
    return f"""\
# Performance

Measured by `make bench ALL=1`; this page was written by

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


def open_views(found: Mapping[int, Mapping[str, float]]) -> str:
    """Return the section on live views, of batches by their number of rows."""

    def line(title: str, name: str, mark: str, factor: float = 1.0) -> str:
        figures = " | ".join(f"{of[name] * factor:.3g}" for of in found.values())
        return f"| {title} | {figures} | {mark} |"

    lines = [
        line("the kernel's share of a core while rows end, %", "kernel", "under 5", 100),
        line("the server's time a poll, median, ms", "poll", "under 5"),
        line("… and the longest of 40", "poll_most", "under 5"),
        line("largest message, kB", "message", "under 20", 1 / 1000),
        line("a page of the rows, ms", "rows", "under 100"),
        line("… searched by a label", "searched", "under 100"),
        line("… of failed rows", "failed", "under 100"),
        line("… sorted by seconds", "sorted", "under 100"),
    ]
    lines += [
        line(f"the kernel's CPU for {title}, ms", f"{name}_cpu", "under 100")
        for name, title in (("rows", "a page"), ("searched", "one of a label"), ("sorted", "one by seconds"))
    ]
    heads = " | ".join(f"{rows:,} rows" for rows in found)
    return f"""\
## What a live view costs

The open view of a batch, 500 rows a job, one row in a hundred failed, its table open, in a Jupyter kernel beside the
program that runs the rows. The kernel's share is over 10 s in which rows end, with a question for the table a second
at most; pages of rows are timed from the question to the answer, as the page sees it. Measured by

    .venv/bin/python benchmarks/bench_views.py --write

| | {heads} | mark |
|---|{"---:|" * len(found)}---|
{chr(10).join(lines)}

On a shared machine, where a question waits for its turn. A browser's share is measured by
`python -m pytest -s tests/browser/test_live.py -k hundred`: of a flow of 100,000 jobs that run, 60 frames a second. A
view that no page shows is not read for. The panel below the tree, which may need every job, is read for a twentieth of
the time at most: the timeline of 100,000 jobs takes seconds, and says of when it is.
"""


def rows_that_call_a_service(
    found: Mapping[str, Mapping[str, float]], rows: int, rounds: int, limit: str, answer_seconds: float
) -> str:
    """Return the section on rows that call a service, of each solution by its name."""
    titles = {
        "flownb": "flownb",
        "asyncio": f"asyncio, a semaphore, tenacity {_version('tenacity')}",
        "joblib": f"joblib {_version('joblib')}: threads, `Memory`, tenacity",
        "dask": f"dask.distributed {_version('distributed')}: threads, tenacity",
        "ray": f"ray {_version('ray')}: an async actor, tenacity",
    }
    fastest = min(one["seconds"] for one in found.values())
    lines = [
        f"| {titles[name]} | {one['seconds']:.1f} | {one['seconds'] / fastest:.2f}x | "
        f"{one['calls'] - one['needed']:,.0f} | {one['lost']:,.0f} | {one['repeated']:,.0f} | {one['lines']:.0f} |"
        for name, one in found.items()
    ]
    how_often = "One round" if rounds == 1 else f"Medians of {rounds} rounds in turn"
    heads = ["s", "beside the fastest", "calls in vain", "rows lost at a kill", "answers asked for again"]
    return f"""\
## Rows that call a service

{rows:,} rows, 32 calls at a time, of a service that takes {answer_seconds:g} s for an answer, answers {limit}, says 429
with a Retry-After beyond that, and fails now and then. Each solution is a file in
[benchmarks/services/](../benchmarks/services/). Measured by

    .venv/bin/python benchmarks/bench_services.py{" --quick" if rounds == 1 else ""} --write

| | {" | ".join([*heads, "lines of code"])} |
|---|{"---:|" * (len(heads) + 1)}
{chr(10).join(lines)}

{how_often}, on a shared machine (load {os.getloadavg()[1]:.0f}); ray is measured where it starts. *Calls in vain* are
those beyond one a row and one for each bad answer: refused, as they came too soon. Each program is killed (kill -9)
when half of its answers have come, and started again: a row is *lost* whose answer it had had for 0.1 s, and asks for
again. flownb's workers, and ray, are started before the time begins, as a notebook's are; dask's client is started
within it.
"""
