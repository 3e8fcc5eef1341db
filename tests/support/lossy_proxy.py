"""A way to a server that drops replies: the request arrives and is carried out, the answer is lost, the line is cut."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
import threading


class Proxy:
    """Listens on a unix socket and hands on to `server`; after `spared` replies a share of them is lost."""

    def __init__(self, server: str, share: float, *, seed: int = 1, spared: int = 20) -> None:
        self.server = server
        self.share = share
        self.spared = spared
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

    def close(self) -> None:
        self.share = 0.0
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for line in self._lines:
            _cut(line)
        self._folder.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.server)
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
