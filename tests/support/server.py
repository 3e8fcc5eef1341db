"""A server that belongs to one test: it can be killed, filled and started again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis

from flownb.connection.folder import find_server


class OwnServer:
    """A server of the tests' own, without a password, that can be killed and started again.

    It keeps its data in an append-only file, unless nobody is to need them.
    """

    def __init__(self, folder: Path, *, keeps_data: bool = True, program: str | None = None) -> None:
        self.folder = folder
        self.program = program or find_server()
        self.keeps_data = keeps_data
        self.socket = str(folder / "s")
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder)]
        options += [
            "--save",
            "",
            "--appendfsync",
            "always",
            "--appendonly",
            "yes" if self.keeps_data else "no",
        ]
        self.process = subprocess.Popen([self.program, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        with redis.Redis(unix_socket_path=self.socket) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
