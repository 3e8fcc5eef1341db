"""Where flownb's own time goes: cProfile by thread, and the server's time by command."""

from __future__ import annotations

import cProfile
import os
import pstats
import threading
from typing import Any

from peers import CONCURRENCY
from private_server import PrivateServer

TOP = 25


def profile(what: str, n: int, server: PrivateServer) -> None:
    """Print the top lines of adding or draining `n` children. Times are those under the profiler."""
    os.environ["BENCH_URL"] = server.url
    from flownb_peer import Peer

    threads = _Threads()
    peer = Peer()
    if what == "add":
        peer.warm_add(min(n // 10, 1000))
        server.empty()
        measure = threads.wrapped(peer.add, "main")
        work = lambda: measure(n)  # noqa: E731
    else:
        with threads:
            peer.start(CONCURRENCY["flownb"])
        peer.warm_drain(min(n // 10, 1000))
        server.empty()
        peer.load(n)
        work = peer.drain
    server.client.config_resetstat()
    cpu = server.cpu_us()
    told = work()
    cpu = server.cpu_us() - cpu
    commands: dict[str, Any] = server.client.info("commandstats")
    if what == "drain":
        peer.worker.close()
    peer.end()
    print(
        f"{what}: {n / told['seconds']:,.0f} jobs/s, {told['cpu_us'] / n:.1f} us of client CPU a job (profiled)"
    )
    threads.tell(n)
    _tell_commands(commands, cpu, n)


class _Threads:
    """A profile a thread, added up by the kind of thread."""

    def __init__(self) -> None:
        self.found: list[tuple[str, cProfile.Profile]] = []
        self._start = threading.Thread.start

    def wrapped(self, work: Any, kind: str) -> Any:
        def profiled(*args: Any) -> Any:
            mine = cProfile.Profile()
            self.found.append((kind, mine))
            try:
                mine.enable()
            except ValueError:  # from Python 3.12 on one profile at a time: the first thread has it
                return work(*args)
            try:
                return work(*args)
            finally:
                mine.disable()

        return profiled

    def __enter__(self) -> None:
        start = self._start

        def profiled_start(thread: Any) -> None:
            thread.run = self.wrapped(thread.run, thread.name.rsplit("-", 1)[-1])
            start(thread)

        threading.Thread.start = profiled_start  # type: ignore[method-assign]

    def __exit__(self, *_: Any) -> None:
        threading.Thread.start = self._start  # type: ignore[method-assign]

    def tell(self, n: int) -> None:
        for kind in dict.fromkeys(kind for kind, _ in self.found):
            mine = [profile for name, profile in self.found if name == kind]
            stats: dict[Any, list[float]] = {}
            for profile in mine:
                profile.create_stats()
                for place, (_, calls, own, below, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
                    seen = stats.setdefault(place, [0, 0, 0])
                    for i, value in enumerate((calls, own, below)):
                        seen[i] += value
            print(
                f"\n{kind} ({len(mine)} thread{'s' * (len(mine) > 1)}), a job: calls, own us, us with callees"
            )
            for (file, line, name), (calls, own, below) in sorted(stats.items(), key=lambda s: -s[1][1])[
                :TOP
            ]:
                place = f"{_short(file)}:{line}" if line else ""
                print(f"{calls / n:9.3f} {own / n * 1e6:8.2f} {below / n * 1e6:8.2f}  {name}  {place}")


def _short(file: str) -> str:
    """The last two parts of a path."""
    return "/".join(file.split(os.sep)[-2:])


def _tell_commands(commands: dict[str, Any], cpu: float, n: int) -> None:
    print(f"\nserver: {cpu / n:.1f} us of CPU a job; by command: calls a job, us a call, us a job")
    scripts = {f"cmdstat_{name}" for name in ("eval", "evalsha", "fcall")}
    inner = 0.0
    for name, told in sorted(commands.items(), key=lambda c: -c[1]["usec"])[:TOP]:
        calls, usec = told["calls"] / n, told["usec"] / n
        if name not in scripts and "blocking" not in name:
            inner += usec
        print(f"{calls:9.3f} {told['usec_per_call']:8.2f} {usec:8.2f}  {name.removeprefix('cmdstat_')}")
    outer = sum(commands[name]["usec"] for name in scripts & commands.keys()) / n
    print(f"{'':9} {'':8} {outer - inner:8.2f}  scripts without the commands they call")
