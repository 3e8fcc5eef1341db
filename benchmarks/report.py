"""From figures to a table, and to docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple

from peers import CONCURRENCY, NODE

Figures = Mapping[str, Mapping[str, list[float]]]  # what -> peer -> one value a round


class Row(NamedTuple):
    """One figure of the table."""

    what: str
    title: str
    more_is_better: bool = False
    mark: str = ""


def rows(n: int) -> list[Row]:
    return [
        Row("add_rate", f"adding a parent with {n:,} children, jobs/s", True, "at least 4x"),
        Row("add_server_us", "… server CPU, µs a job"),
        Row("add_client_us", "… client CPU, µs a job"),
        Row("add_rss", "… client's peak memory, MB"),
        Row("bytes", "… memory in the server, bytes a job"),
        Row("bytes_embedded", "… the same, settings of the embedded server"),
        Row("drain_rate", f"draining {n:,} no-op jobs, one worker process, jobs/s", True, "at least 1x"),
        Row("drain_server_us", "… server CPU, µs a job"),
        Row("drain_client_us", "… worker CPU, µs a job"),
        Row("drain_rss", "… worker's peak memory, MB"),
        Row("values", f"the {n:,} children's values, read in the root, ms"),
        Row("poll_new", "one progress poll, nothing run yet, ms", mark="at least 50x"),
        Row("poll_done", "one progress poll, all done, ms", mark="at least 50x"),
        Row("chain", "a chain of four, median of 100, ms"),
        Row("chain_p99", "… 99th of 100, ms"),
        Row("chain_result", "… median until `flow.result()` returns, ms"),
        Row("import", "`import flownb`, best of 5, ms", mark="under 150 ms"),
    ]


def table(figures: Figures, n: int) -> str:
    """Return a Markdown table: median (min..max) of each peer, and how many times flownb is better."""
    lines = ["| | flownb | bullmq (npm) | flownb is better by | first mark |", "|---|---:|---:|---:|---|"]
    for row in rows(n):
        ours, theirs = figures[row.what].get("flownb"), figures[row.what].get("bullmq")
        better = ""
        if ours and theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            better = f"{_figure(ratio if row.more_is_better else 1 / ratio)}x"
        lines.append(f"| {row.title} | {_spread(ours)} | {_spread(theirs)} | {better} | {row.mark} |")
    return "\n".join(lines)


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


def page(figures: Figures, n: int, rounds: int, server: str) -> str:
    """Return docs/performance.md."""
    return f"""\
# Performance

Measured by `make bench`, and this page written by

    .venv/bin/python benchmarks/bench_flows.py --write

{machine(server)}

Cells: median (min..max) of {rounds} rounds.

{table(figures, n)}
"""


def machine(server: str) -> str:
    """Describe what it ran on: cores and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("redis", "msgpack"))
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
