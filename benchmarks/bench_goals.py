"""Measure flownb beside its peers, goal by goal: one table that says which goals are met.

The peers run in turn in each round, a fresh process each: the npm package bullmq, that of PyPI, a client that does
nothing but batch (bare_client.py), and for rows joblib and, where it is installed, dask. Read ratios of one run.

    python benchmarks/bench_goals.py                      the table; about ten minutes on two quiet cores
    python benchmarks/bench_goals.py --quick              fewer jobs, two rounds
    python benchmarks/bench_goals.py --only add,chains    these measurements alone
    python benchmarks/bench_goals.py --write              the same, and into docs/performance.md
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import bench_batches  # noqa: E402
import bench_flows  # noqa: E402
import bench_requests  # noqa: E402
import bench_width  # noqa: E402
from goals import Figures, lines, table  # noqa: E402
from peers import Peer, prepare_node  # noqa: E402
from private_server import PrivateServer  # noqa: E402
from report import figure, goals_of_a_run, publish  # noqa: E402

Found = Iterator[tuple[str, str, float]]  # what, whose, how much

FLEET, SLOTS = 8, 8  # worker processes, and how many jobs each runs at a time


class Sizes(NamedTuple):
    """How many jobs or rows each measurement takes."""

    added: int = 10_000
    many: int = 100_000
    drained: int = 20_000
    chains: int = 1_000
    rows: int = 100_000
    very_many: int = 1_000_000


QUICK = Sizes(added=2_500, many=20_000, drained=5_000, chains=200, rows=20_000, very_many=100_000)


class Run:
    """The measurements of one round, each by the name of its method."""

    def __init__(self, server: PrivateServer, sizes: Sizes, peers: Iterable[str]) -> None:
        self.server = server
        self.sizes = sizes
        self.peers = list(peers)

    def _among(self, *names: str) -> Iterator[str]:
        return (name for name in names if name in self.peers)

    def add(self) -> Found:
        for name in self._among("bullmq", "bullmq-py", "bare", "flownb"):
            with Peer(name, self.server) as peer:
                for what, value in bench_flows.adding(peer, self.server, self.sizes.added).items():
                    yield what, name, value
                if name == "flownb":
                    before = self._calls()
                    told = peer.ask("table", times=5, n=self.sizes.added)
                    yield "table", name, statistics.median(told["ms"])
                    yield "table_calls", name, (self._calls() - before) / 5

    def _calls(self) -> int:
        """Calls of scripts so far: `flow.jobs()` sends nothing else."""
        return int(self.server.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    def add_many(self) -> Found:
        for name in self._among("bullmq", "bare", "flownb"):
            with Peer(name, self.server) as peer:
                self.server.empty()
                peer.ask("warm_add", n=1_000)
                self.server.empty()
                told = peer.ask("add", n=self.sizes.many)
            yield "many_rate", name, self.sizes.many / told["seconds"]
            yield "many_rss", name, told["rss_mb"]
            yield "many_grown", name, told.get("grown_mb", 0.0)

    def drain(self) -> Found:
        for name in self._among("bullmq", "bullmq-py", "bare", "flownb"):
            n = self.sizes.drained // (10 if name == "bullmq-py" else 1)
            with Peer(name, self.server) as peer:
                for what, value in bench_flows.draining(peer, self.server, n, polled=False).items():
                    yield what, name, value

    def drain_by_two(self) -> Found:
        for name in self._among("bullmq", "flownb"):
            with Peer(name, self.server) as peer, Peer(name, self.server) as second:
                drained = bench_flows.draining(
                    peer, self.server, self.sizes.drained, polled=False, second=second
                )
            yield "two_rate", name, drained["drain_rate"]

    def chains(self) -> Found:
        for name in self._among("bullmq", "flownb"):
            with Peer(name, self.server) as peer:
                found = bench_flows.chains(peer, self.server, 0)
            yield "chain", name, found["chain"]
            yield "chain_p99", name, found["chain_p99"]

    def burst(self) -> Found:
        """Chains added one by one, a worker of concurrency 1 in another process: until all have ended."""
        for name in self._among("bullmq", "flownb"):
            self.server.empty()
            with Peer(name, self.server) as worker, Peer(name, self.server) as producer:
                worker.ask("start_chain")
                producer.ask("chain_once")
                before = self._ended("end")
                start = time.perf_counter()
                producer.ask("burst", n=self.sizes.chains)
                self._until("end", before + self.sizes.chains)
                yield "burst_rate", name, self.sizes.chains / (time.perf_counter() - start)

    def _ended(self, queue: str) -> int:
        return int(self.server.client.zcard(f"bull:{queue}:completed"))

    def _until(self, queue: str, many: int) -> None:
        """Wait until so many jobs of a queue are completed; a look costs the server less than a microsecond."""
        until = time.monotonic() + 120
        while self._ended(queue) < many:
            if time.monotonic() > until:
                raise SystemExit(f"{queue}: {self._ended(queue)} of {many} jobs have completed")
            time.sleep(0.005)

    def fleet(self) -> Found:
        """No-op jobs that run while they are added, by one process and by many."""
        n = self.sizes.drained
        for name, processes in (("flownb one", 1), ("flownb", FLEET)):
            self.server.empty()
            with ExitStack() as stack:
                workers = [stack.enter_context(Peer("flownb", self.server)) for _ in range(processes)]
                producer = stack.enter_context(Peer("flownb", self.server))
                for worker in workers:
                    worker.ask("start", concurrency=SLOTS)
                producer.ask("warm_add", n=1_000)
                self._until("agg", 1)
                start = time.perf_counter()
                producer.ask("add", n=n)
                self._until("agg", 2)
                yield "fleet_rate", name, n / (time.perf_counter() - start)

    def rows(self) -> Found:
        peers = [("flownb", "auto"), ("joblib", "1")]
        if importlib.util.find_spec("distributed"):
            peers.append(("dask", "1"))
        for name, size in peers:
            n = self.sizes.rows // (5 if name == "dask" else 1)
            if found := bench_batches.measure(name, n, size):
                yield "rows", name, found["seconds"]

    def million(self) -> Found:
        found = bench_batches.measure("flownb", self.sizes.very_many, bench_batches.MANY)
        yield "million", "flownb", found["seconds"]
        yield "million_mb", "flownb", found["peak_mb"]
        yield "million_grown", "flownb", found["grown_mb"]

    def width(self) -> Found:
        yield "width", "flownb", bench_width.measured((5_000, 0.5, 200))["seconds"]


def once(only: set[str]) -> Found:
    """What counts and does not swing: one round says it."""
    if "idle" in only:
        with PrivateServer() as server:
            found = json.loads(server.run(bench_requests.PROGRAMS["idle"][0], "30"))
        yield "idle_commands", "flownb", found["commands_a_second"]
        yield "idle_wake", "flownb", found["wake_ms"]
    if "width" in only:
        yield "width_threads", "flownb", bench_width.measured((8_000, 2.0, 2_000))["threads"]


def main() -> None:
    options = read_options()
    sizes, rounds = (QUICK, 2) if options.quick else (Sizes(), options.rounds)
    only = set(options.only.split(",")) if options.only else {*MEASUREMENTS, "idle"}
    peers = ["bullmq", "bullmq-py", "bare", "flownb"]
    problem = prepare_node()
    if problem:
        print(problem)
        peers.remove("bullmq")
    if not importlib.util.find_spec("bullmq"):
        peers.remove("bullmq-py")
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def take(figures: Found) -> None:
        for what, name, value in figures:
            found[what][name].append(value)

    load, started = os.getloadavg()[0], time.monotonic()
    take(once(only))
    with PrivateServer() as server:
        run = Run(server, sizes, peers)
        for round in range(1, rounds + 1):
            for name in MEASUREMENTS:
                if name in only:
                    say(f"round {round} of {rounds}: {name}")
                    measure: Callable[[], Found] = getattr(run, name)
                    try:
                        take(measure())
                    except SystemExit as problem:  # of one peer: the others' figures stand
                        say(f"{name}, left out: {problem}\n")
            say("")
            of, loads = Figures(found), (figure(load), figure(os.getloadavg()[2]))
            goals = lines(of, sizes.added, sizes.many, sizes.drained, sizes.rows, sizes.very_many)
            minutes = (time.monotonic() - started) / 60
            section = goals_of_a_run(table(goals), of.times, round, minutes, server.version(), loads)
            publish(section, write=options.write)  # after each round, as a long run may be cut short


MEASUREMENTS = (
    "add",
    "add_many",
    "drain",
    "drain_by_two",
    "chains",
    "burst",
    "fleet",
    "rows",
    "million",
    "width",
)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure flownb beside its peers, goal by goal.")
    parser.add_argument("--quick", action="store_true", help="fewer jobs, two rounds")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind (5)")
    parser.add_argument("--only", help=f"some of {', '.join(MEASUREMENTS)}, idle")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    return parser.parse_args()


say = bench_flows.say


if __name__ == "__main__":
    main()
