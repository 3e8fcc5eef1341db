"""A server for the benchmarks alone: started, asked, emptied and ended here."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from flownb.connection.folder import find_server


class PrivateServer:
    """A server on a socket of its own, without persistence; both peers use it in turn."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="flownb-bench-")
        self.socket = str(Path(self._folder.name, "server"))
        self.url = f"unix://{self.socket}"
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [find_server(), *options, "--dir", self._folder.name], stdout=subprocess.DEVNULL
        )
        self.client = redis.Redis(unix_socket_path=self.socket)
        until = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.01)

    def empty(self) -> None:
        self.client.flushall(asynchronous=False)

    def set(self, **settings: int) -> None:
        for name, value in settings.items():
            self.client.config_set(name.replace("_", "-"), value)

    def version(self) -> str:
        info = self.client.info("server")
        return (
            f"Valkey {info['valkey_version']}"
            if "valkey_version" in info
            else f"Redis {info['redis_version']}"
        )

    def cpu_us(self) -> float:
        """CPU time it has used so far, in microseconds."""
        info: Any = self.client.info("cpu")
        return (info["used_cpu_sys"] + info["used_cpu_user"]) * 1e6

    def data_bytes(self) -> int:
        """Memory it uses now, its clients' buffers left out; Lua's own is not in it."""
        info: Any = self.client.info("memory")
        return int(info["used_memory"] - info["mem_clients_normal"])

    def run(self, program: str, *arguments: str, **environ: str) -> str:
        """Run a program in a fresh process that finds this server as BENCH_URL; return the last line it prints."""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "BENCH_URL": self.url,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
                **environ,
            },
        )
        if done.returncode:
            raise SystemExit((done.stderr.strip().splitlines() or ["no word"])[-1])
        return done.stdout.strip().splitlines()[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()


def in_turn(programs: Mapping[str, str], rounds: int, **environ: str) -> dict[str, list[float]]:
    """Run each program in each round, beside a fresh server; return the seconds that they print, by name."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            with PrivateServer() as server:
                found[name].append(float(server.run(program, **environ)))
            print(f"{name}: {found[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return found
