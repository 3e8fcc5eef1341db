"""A way to a server over TCP that may become half open: from then on it takes everything and answers nothing."""

from __future__ import annotations

import contextlib
import socket
import threading


class HalfOpenProxy:
    """Listens on a free port and hands on to the server's unix socket, until it swallows."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.swallows = False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._door.getsockname()[1]}/0"
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for line in (self._door, *self._lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.socket(socket.AF_UNIX)
                self._lines += [near, far]
                if self.swallows:
                    continue
                far.connect(self.server)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._hand_on, args=(source, target), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if self.swallows:
                    return  # without a word to either side
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
