"""What the peers written in Python have in common: how they are told what to do, and the tree that they add."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Answer = dict[str, Any]
Found = TypeVar("Found")


def fan_out(n: int) -> dict[str, Any]:
    """One parent with `n` children: the tree of the parallel guide."""
    batch = "batch_1"
    return {
        "name": "aggregate-results",
        "queueName": "agg",
        "data": {"batchId": batch, "totalItems": n},
        "children": [
            {
                "name": f"process-item-{index}",
                "queueName": "items",
                "data": {"batchId": batch, "index": index, "item": f"item {index}"},
            }
            for index in range(n)
        ],
    }


def measured(work: Callable[[], Answer]) -> Answer:
    """Run `work`; tell its wall and CPU time, the most memory this process has used, and how much of it since now."""
    before = peak_mb()
    cpu, start = time.process_time(), time.perf_counter()
    more = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_mb()
    return {"seconds": seconds, "cpu_us": cpu * 1e6, "rss_mb": peak, "grown_mb": peak - before, **more}


def timed(times: int, ask: Callable[[], Found]) -> tuple[list[float], Found]:
    """Ask so many times; return the milliseconds of each, and what was answered last."""
    ms = []
    for _ in range(times):
        start = time.perf_counter()
        found = ask()
        ms.append((time.perf_counter() - start) * 1000)
    return ms, found


def peak_mb() -> float:
    """The most memory that this process has used.

    Linux counts to a new process's `ru_maxrss` what the program that started it used: it knows a figure without that.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / (1 << 10)


def serve(peer: Any) -> None:
    """Do what the lines on stdin say, ``{"do": name, ...}``, by the peer's methods; answer a line each."""
    for line in sys.stdin:
        message = json.loads(line)
        name = message.pop("do")
        if name == "end":
            break
        try:
            answer = getattr(peer, name)(**message)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    peer.end()
