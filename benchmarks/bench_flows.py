"""Measure flownb beside the npm package bullmq: adding, draining, polling, chains, memory, import.

Both use one private server, emptied before each measurement, each measurement in a fresh process, the two
peers in turn. Wall time on a shared machine moves by up to 2x: read ratios of one run, and CPU per job.

    python benchmarks/bench_flows.py            a table
    python benchmarks/bench_flows.py --write    the same, and into docs/performance.md
    python benchmarks/bench_flows.py --quick    2,000 children, 2 rounds
    python benchmarks/bench_flows.py --profile drain    where flownb's own time goes; or add
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from peers import CONCURRENCY, Peer, prepare_node  # noqa: E402
from private_server import PrivateServer  # noqa: E402
from report import Figures, page, section_of, table  # noqa: E402

SMALL_BLOCKS = {"hash_max_listpack_value": 64}  # the server's own setting
POLLED = ("bullmq", "flownb")
EMBEDDED_BLOCKS = {"hash_max_listpack_value": 512}  # that of flownb's embedded server


def main() -> None:
    options = read_options()
    n, rounds = (2_000, 2) if options.quick else (options.children, options.rounds)
    if options.profile:
        from profiling import profile

        with PrivateServer() as server:
            profile(options.profile, n, server)
        return
    if options.scan:
        scan(n, rounds)
        return
    names = [options.only] if options.only else ["bullmq", "flownb"]
    problem = prepare_node() if "bullmq" in names else None
    if problem:
        print(problem)
        names = ["flownb"]
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with PrivateServer() as server:
        for round in range(rounds):
            for measure in (adding, memory_embedded, draining, chains):
                for name in names:
                    say(f"round {round + 1} of {rounds}: {name}, {measure.__name__.replace('_', ' ')}")
                    with Peer(name, server) as peer:
                        for what, value in measure(peer, server, n).items():
                            figures[what][name].append(value)
        version = server.version()
    figures["import"]["flownb"] = [min(import_ms() for _ in range(5))]
    say("")
    print(table(figures, n))
    if options.write:
        path = ROOT / "docs" / "performance.md"
        path.write_text(page(figures, n, rounds, version) + "\n" + section_of(path), encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure flownb beside the npm package bullmq.")
    parser.add_argument("--quick", action="store_true", help="2,000 children, 2 rounds")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--children", type=int, default=10_000, help="children of the flow (10,000)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind (5)")
    parser.add_argument("--only", choices=["flownb", "bullmq"], help="measure one peer")
    parser.add_argument("--profile", choices=["add", "drain"], help="where flownb's own time goes")
    parser.add_argument("--scan", action="store_true", help="drain with several concurrencies")
    return parser.parse_args()


def adding(peer: Peer, server: PrivateServer, n: int) -> dict[str, float]:
    """A parent with `n` children: one call of the producer. Then polls, while nothing has run."""
    server.set(**SMALL_BLOCKS)
    server.empty()
    peer.ask("warm_add", n=min(n // 10, 1000))
    server.empty()
    bytes_before, cpu_before = server.data_bytes(), server.cpu_us()
    added = peer.ask("add", n=n)
    cpu = server.cpu_us() - cpu_before
    used = server.data_bytes() - bytes_before
    return {
        "add_rate": n / added["seconds"],
        "add_server_us": cpu / n,
        "add_client_us": added["cpu_us"] / n,
        "add_rss": added["rss_mb"],
        "add_grown": added.get("grown_mb", 0.0),
        "bytes": used / n,
        **polls(peer, n, "poll_new"),
    }


def memory_embedded(peer: Peer, server: PrivateServer, n: int) -> dict[str, float]:
    """Memory per job under the settings of flownb's embedded server."""
    server.set(**EMBEDDED_BLOCKS)
    server.empty()
    peer.ask("warm_add", n=min(n // 10, 1000))
    server.empty()
    before = server.data_bytes()
    peer.ask("add", n=n)
    return {"bytes_embedded": (server.data_bytes() - before) / n}


def draining(
    peer: Peer,
    server: PrivateServer,
    n: int,
    concurrency: int | None = None,
    *,
    polled: bool = True,
    second: Peer | None = None,
) -> dict[str, float]:
    """A started, idle worker; the flow waits in a paused queue: from resuming it to the root's end.

    A `second` process helps with the children.
    """
    server.set(**SMALL_BLOCKS)
    server.empty()
    peer.ask("start", concurrency=concurrency or CONCURRENCY[peer.name])
    if second:
        second.ask("start", concurrency=concurrency or CONCURRENCY[peer.name], root=False)
    peer.ask("warm_drain", n=min(n // 10, 1000))
    server.empty()
    peer.ask("load", n=n)
    before = server.cpu_us()
    drained = peer.ask("drain")
    cpu = server.cpu_us() - before
    if (drained["count"], drained["sum"]) != (n, n * (n - 1) // 2):
        raise SystemExit(f"{peer.name}: the root saw {drained['count']} values with the sum {drained['sum']}")
    return {
        "drain_rate": n / drained["seconds"],
        "drain_server_us": cpu / n,
        "drain_client_us": drained["cpu_us"] / n,
        "drain_rss": drained["rss_mb"],
        "values": drained["ms"],
        **(polls(peer, n, "poll_done") if polled else {}),
    }


def polls(peer: Peer, n: int, name: str) -> dict[str, float]:
    """One progress poll, of those peers that have any."""
    if peer.name not in POLLED:
        return {}
    found = peer.ask("poll", times=1 if peer.name == "bullmq" else 21, n=n)
    if found["shown"] != n:
        raise SystemExit(f"{peer.name}: a poll showed {found['shown']} children of {n}")
    return {name: statistics.median(found["ms"])}


def chains(peer: Peer, server: PrivateServer, n: int) -> dict[str, float]:
    """Four stages, one flow after another, an idle worker of concurrency 1 in the same process."""
    server.empty()
    peer.ask("start_chain")
    peer.ask("chain", times=10)
    found = peer.ask("chain", times=100)
    figures = {"chain": statistics.median(found["ms"]), "chain_p99": sorted(found["ms"])[98]}
    if "result_ms" in found:
        figures["chain_result"] = statistics.median(found["result_ms"])
    return figures


def scan(n: int, rounds: int) -> None:
    """Drain with several concurrencies, in turn: the best is the one to compare with."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    with PrivateServer() as server:
        for _ in range(rounds):
            for concurrency in (1, 2, 4, 10, 20, 50, 100):
                with Peer("flownb", server) as peer:
                    drained = draining(peer, server, n, concurrency)
                found[concurrency].append((drained["drain_rate"], drained["drain_client_us"]))
    for concurrency, runs in found.items():
        rate, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"concurrency {concurrency:>3}: {rate:>8,.0f} jobs/s, {cpu:.1f} us of the worker's CPU a job")


def import_ms() -> float:
    """`import flownb` in a fresh process, as `-X importtime` tells it."""
    command = [sys.executable, "-X", "importtime", "-c", "import flownb"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return int(re.findall(r"^import time: +\d+ \| +(\d+) \| flownb$", told, re.MULTILINE)[0]) / 1000


say: Callable[[str], None] = lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)  # noqa: E731


if __name__ == "__main__":
    main()
