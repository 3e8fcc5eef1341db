"""A way to a server that is no good: it loses replies or requests, swallows, delays, or cuts every line.

A lost reply is one whose request arrived and was carried out; a lost request never arrived. Either cuts its line. A way
that swallows leaves its lines open, and no byte passes: nobody is told, as when a cable is pulled.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Listens on a unix socket and hands on to `server`; after `spared` chunks a share of what passes is lost.

    `share` is that of replies, `request_share` that of requests, `delay` the seconds that each way takes.
    """

    def __init__(
        self,
        server: str,
        share: float = 0.0,
        *,
        request_share: float = 0.0,
        delay: float = 0.0,
        seed: int = 1,
        spared: int = 20,
    ) -> None:
        self.server = server
        self.share = share
        self.request_share = request_share
        self.delay = delay
        self.spared = spared
        self._passes = threading.Event()
        self._passes.set()
        self.dropped = 0
        self.lose: bytes | None = (
            None  # the next reply that holds this is lost, and the next line's first one too
        )
        self._lose_line = False
        self._chance = random.Random(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="flownb-way-")
        self.socket = os.path.join(self._folder.name, "s")
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(self.socket)
        self._door.listen(64)
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @contextlib.contextmanager
    def swallows(self) -> Iterator[None]:
        """Let no byte pass for a while, in either direction; lines stay open, and new ones are taken."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    def cut(self) -> None:
        """Close every line there is; new ones are taken."""
        lines, self._lines = self._lines, []
        for line in lines:
            _cut(line)

    def close(self) -> None:
        self.share = self.request_share = 0.0
        self._passes.set()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()
        self._folder.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(self.server)
                except OSError:  # the server is away: who comes is told, as without a way between
                    _cut(near)
                    continue
                self._lines += [near, far]
                threading.Thread(target=self._hand_on, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._hand_on, args=(far, near, True), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            lose_first = False
            if replies:
                lose_first, self._lose_line = self._lose_line, False
            while chunk := source.recv(1 << 16):
                if replies and (lose_first or self._loses_this(chunk)):
                    self.dropped += 1
                    break
                if not replies and self._chance.random() < self.request_share:
                    self.dropped += 1
                    break
                if self.delay:
                    time.sleep(self.delay)
                self._passes.wait()
                target.sendall(chunk)
        _cut(source)
        _cut(target)

    def _loses_this(self, chunk: bytes) -> bool:
        if self.lose is not None and self.lose in chunk:
            self.lose, self._lose_line = None, True
            return True
        self.spared -= 1
        return self.spared < 0 and self._chance.random() < self.share


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
