"""The small detached process that owns one embedded server: it starts it, restarts it, and stops it.

It runs as ``python -I -S supervisor.py FOLDER LOCK_FD STARTER_FD PROGRAM`` and is pure standard library: it
starts in a few milliseconds and needs nothing of the user's environment.

Everybody who uses the server holds one connection to the supervisor. The operating system closes it even for
a process that was killed, so the supervisor always knows who is left: a short grace after the last one it
stops the server. What it says on such a connection are lines of JSON::

    {"loading": true}                                      still reading the data; keep waiting
    {"unix_socket_path": "...", "password": "..."}         ready
    {"error": "..."}                                       it will never be ready, and why

FOLDER/lock is locked (flock) from before the first file is touched until the server is gone. The server
inherits the locked file: even if only the supervisor dies, nobody can start a second server on the same data.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flownb.connection import server_files
    from flownb.connection.server_process import ServerProcess
else:  # run by its path, isolated from the package: its helpers lie beside it
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import server_files
    from server_process import ServerProcess

GRACE = 1.0  # seconds without any user before the server is stopped: a kernel's restart fits in
LOADING_EVERY = 1.0  # seconds between two "still loading" lines
LOOK_AT_FILE_EVERY = 60.0  # seconds between two looks whether the append-only file should shrink


class Supervisor:
    """Owns the server of one folder from the first user to the last."""

    def __init__(self, server: ServerProcess, starter: socket.socket) -> None:
        self.server = server
        self.users = [starter]
        self.selector = selectors.DefaultSelector()
        self.selector.register(starter, selectors.EVENT_READ, self.on_user)
        self.listener = socket.socket(socket.AF_UNIX)
        self.stopping = False
        self.is_kept = False  #: the next supervisor uses the folder of the sockets again
        self.alone_since = self.told_loading = self.looked_at_file = time.monotonic()

    def run(self) -> None:
        try:
            self.watch_signals()
            self.server.settle()
            self.listen()
            self.server.start()
            self.serve()
        except server_files.CannotStart as reason:
            self.tell({"error": str(reason)})
        except OSError as error:
            self.tell({"error": f"cannot keep data in {self.server.folder}: {error.strerror or error}"})
        finally:
            self.stop()

    def watch_signals(self) -> None:
        """SIGCHLD (the server died) and SIGTERM (stop, please) wake the loop through a socket pair."""
        woken, self.waker = socket.socketpair()
        for end in (woken, self.waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        self.selector.register(woken, selectors.EVENT_READ, self.on_signal)

    def listen(self) -> None:
        self.listener.bind(self.server.users_socket)
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self.on_arrival)

    def serve(self) -> None:
        while not self.is_over():
            if self.server.died():
                self.restart()
            if not self.server.ready:
                self.look_whether_ready()
            elif time.monotonic() - self.looked_at_file > LOOK_AT_FILE_EVERY:
                self.look_at_file()
            for key, _ in self.selector.select(self.until_next_look()):
                key.data(key.fileobj)

    def until_next_look(self) -> float | None:
        """How long to sleep if nobody comes, goes or dies."""
        if not self.server.ready:
            return 0.004 if time.monotonic() - self.server.started < 1 else 0.1
        return LOOK_AT_FILE_EVERY if self.users else GRACE / 10

    def is_over(self) -> bool:
        """Whether we were asked to stop, or nobody has been here for the grace."""
        is_alone = not self.users and time.monotonic() - self.alone_since > GRACE
        return self.stopping or is_alone

    def restart(self) -> None:
        if not self.server.was_ready:
            raise server_files.CannotStart(f"the server did not start: {self.server.why_it_died()}")
        self.is_kept = True
        self.server.start()
        self.is_kept = False

    def look_whether_ready(self) -> None:
        if self.server.look_whether_ready():
            self.tell(self.server.address())
        elif time.monotonic() - self.told_loading > LOADING_EVERY:
            self.told_loading = time.monotonic()
            self.tell({"loading": True})

    def look_at_file(self) -> None:
        self.looked_at_file = time.monotonic()
        self.server.shrink_file()

    def on_signal(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)

    def on_arrival(self, listener: socket.socket) -> None:
        try:
            user, _ = listener.accept()
        except OSError:
            return
        self.users.append(user)
        self.selector.register(user, selectors.EVENT_READ, self.on_user)
        if self.server.ready:
            self.tell(self.server.address(), [user])

    def on_user(self, user: socket.socket) -> None:
        """Users say nothing: what can be read is the end of the connection."""
        with contextlib.suppress(ConnectionError):
            if user.recv(4096):
                return
        self.selector.unregister(user)
        self.users.remove(user)
        self.alone_since = time.monotonic()
        user.close()
        if self.server.ready:  # who removes much often leaves then, as `flownb prune` does
            self.look_at_file()

    def tell(self, message: dict[str, object], users: list[socket.socket] | None = None) -> None:
        line = json.dumps(message).encode() + b"\n"
        for user in self.users if users is None else users:
            with contextlib.suppress(OSError):  # a user who just left
                user.send(line, socket.MSG_DONTWAIT)

    def stop(self) -> None:
        """Take the sign down first, so that a late comer waits for the lock; the lock goes last, with us."""
        if not self.is_kept:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.server.folder, server_files.LINK_FILE))
        self.listener.close()
        for user in self.users:
            user.close()
        self.server.stop()
        if hasattr(self.server, "runtime") and not self.is_kept:
            shutil.rmtree(self.server.runtime, ignore_errors=True)


def main(folder: str, lock_fd: str, starter_fd: str, program: str) -> None:
    """Detach from the starter, who gets its child back at once and never a zombie, and stay until the end."""
    os.umask(0o077)
    os.chdir("/")
    if os.fork():
        os._exit(0)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_inheritable(int(lock_fd), False)
    starter = socket.socket(fileno=int(starter_fd))
    starter.set_inheritable(False)
    Supervisor(ServerProcess(folder, program, int(lock_fd)), starter).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
