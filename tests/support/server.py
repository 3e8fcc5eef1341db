"""A server that belongs to one test: it can be killed, frozen, filled, copied and started again."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from flownb.connection import Connection, server_files
from flownb.connection.folder import find_server


def client_for_all(connection: Connection) -> redis.Redis:
    """A client that may do everything: on an embedded server as its supervisor's user, elsewhere the connection's own."""
    if connection.path is None:
        return connection.client()
    link = json.loads((connection.path / server_files.LINK_FILE).read_text())
    return redis.Redis(
        unix_socket_path=link["unix_socket_path"],
        username=server_files.ADMIN,
        password=link["admin_password"],
        protocol=2,
    )


class OwnServer:
    """A server of the tests' own, without a password, that can be killed and started again.

    It keeps its data in an append-only file, unless nobody is to need them. `fsync` is the server's `appendfsync`: with
    ``everysec`` a server that is killed while its disk is busy has lost what it had answered for a moment before.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keeps_data: bool = True,
        program: str | None = None,
        fsync: str = "always",
        settings: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.program = program or find_server()
        self.keeps_data = keeps_data
        self.fsync = fsync
        self.settings = settings
        self.socket = str(folder / "s")
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder)]
        options += ["--save", "", "--appendfsync", self.fsync, *self.settings]
        options += ["--appendonly", "yes" if self.keeps_data else "no"]
        # Where signals stay ignored as Python has them, a file that is too long is an error and not its death.
        self.process = subprocess.Popen(
            [self.program, *options], stdout=subprocess.DEVNULL, restore_signals=False
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
                    assert time.monotonic() < deadline
                    time.sleep(0.005)

    def client(self) -> redis.Redis:
        """Return a plain client, which resends nothing."""
        return redis.Redis(unix_socket_path=self.socket, retry=None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it between two instructions, and let it go on."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def limit_files(self, bytes_: int | None) -> None:
        """Let no file of it become longer than this, as if its disk were full then; None: as long as it likes."""
        limit = resource.RLIM_INFINITY if bytes_ is None else bytes_
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def log_file(self) -> Path:
        """Return the file that its last writes went to: its append-only file."""
        folder = self.folder / "appendonlydir"
        found = sorted(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
        return found[-1] if found else self.folder / "appendonly.aof"

    @contextmanager
    def copy_at_one_moment(self, folder: Path) -> Iterator[OwnServer]:
        """Give another server with all that this one holds at one moment, while its users go on."""
        with self.client() as client:
            before = client.lastsave()
            client.bgsave()
            deadline = time.monotonic() + 30
            while client.info("persistence")["rdb_bgsave_in_progress"] or client.lastsave() == before:
                assert time.monotonic() < deadline
                time.sleep(0.02)
                if client.info("persistence")["rdb_last_bgsave_status"] != "ok":
                    client.bgsave()
        shutil.copy(self.folder / "dump.rdb", folder)
        copy = OwnServer(folder, keeps_data=False, program=self.program)
        try:
            yield copy
        finally:
            copy.kill()
            os.unlink(folder / "dump.rdb")
