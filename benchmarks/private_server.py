"""A server for the benchmarks alone: started, asked, emptied and ended here."""

from __future__ import annotations

import subprocess
import tempfile
import time
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()
