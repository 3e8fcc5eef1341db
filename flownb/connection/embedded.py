"""The server flownb starts itself: find its folder, start it or join it, and hold it while it is used.

A folder's server runs while anybody holds it: see supervisor.py, which is the other side of a `Hold`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from flownb.connection import server_files
from flownb.connection.folder import OTHERWISE, find_server, not_writable, prepare, refuse_windows
from flownb.errors import FlownbError, ServerUnreachable

PATIENCE_SECONDS = 8.0  # without a sign of life until joining gives up
SILENCE_SECONDS = 0.5  # after which a supervisor that does not listen is taken for dead


# -- starting and joining ----------------------------------------------------------------------------------


def join(folder: Path) -> tuple[socket.socket, dict[str, object]]:
    """Start the folder's server or join it: the connection that holds it, and its address.

    Raises ServerUnreachable after `PATIENCE_SECONDS` without a sign of life; a server that is still reading a
    lot of data does give signs.
    """
    refuse_windows()
    prepare(folder)
    give_up = time.monotonic() + PATIENCE_SECONDS
    silence = _Silence()
    while time.monotonic() < give_up:
        if started := _start(folder):
            if address := _wait_for_address(started, folder):
                return started, address
            why = server_files.last_words(str(folder)) or "its supervisor ended without a word"
            raise ServerUnreachable(f"the embedded server did not start: {why}")
        link = server_files.read_link(str(folder))
        if link and (arrived := _knock(link)):
            if address := _wait_for_address(arrived, folder):
                return arrived, address
            continue  # it is just stopping: try again to start one
        if silence.seconds_of(link) > SILENCE_SECONDS and link:
            _stop_orphan(link)
            silence = _Silence()
        time.sleep(0.02)
    raise ServerUnreachable(
        f"{folder} is in use, but no server answers (used on another machine?): end that use, {OTHERWISE}"
    )


class _Silence:
    """How long the supervisor that a link file names has not listened."""

    def __init__(self) -> None:
        self._link: dict[str, object] | None = None
        self._since = 0.0

    def seconds_of(self, link: dict[str, object] | None) -> float:
        """Return how long ago this link was first seen without a break."""
        if link != self._link:
            self._link, self._since = link, time.monotonic()
        return time.monotonic() - self._since


def _start(folder: Path) -> socket.socket | None:
    """Start a supervisor unless there is one. It inherits the lock, so there is no moment without it."""
    import fcntl

    try:
        lock = os.open(folder / server_files.LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise not_writable(folder, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _spawn_supervisor(folder, lock)
    except BlockingIOError:
        return None
    except OSError as error:
        raise not_writable(folder, error) from None
    finally:
        os.close(lock)


def _spawn_supervisor(folder: Path, lock: int) -> socket.socket:
    server = find_server()
    script = str(Path(__file__).with_name("supervisor.py"))
    ours, theirs = socket.socketpair()
    with theirs, open(folder / server_files.LOG_FILE, "ab") as log:
        os.chmod(log.fileno(), 0o600)
        arguments = [str(folder), str(lock), str(theirs.fileno()), server]
        subprocess.run(  # returns at once: the supervisor forks itself away
            [sys.executable, "-I", "-S", script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock, theirs.fileno()],
            start_new_session=True,  # an interrupt of the kernel goes to its whole session
            check=False,
        )
    return ours


def _knock(link: dict[str, object]) -> socket.socket | None:
    door = socket.socket(socket.AF_UNIX)
    try:
        door.settimeout(1.0)
        door.connect(str(link["users_socket"]))
    except OSError:
        door.close()
        return None
    return door


def _wait_for_address(hold: socket.socket, folder: Path) -> dict[str, object] | None:
    """Return the address that the supervisor sends; None if it closes the connection without a word."""
    hold.settimeout(PATIENCE_SECONDS)
    for message in _messages(hold, folder):
        if "error" in message:
            hold.close()
            raise ServerUnreachable(f"the embedded server in {folder}: {message['error']}")
        if "unix_socket_path" in message:
            hold.settimeout(None)
            return message
    hold.close()
    return None


def _messages(hold: socket.socket, folder: Path) -> Iterator[dict[str, object]]:
    """Yield what the supervisor sends, until it closes the connection."""
    unread = b""
    while True:
        try:
            received = hold.recv(4096)
        except TimeoutError:
            hold.close()
            raise ServerUnreachable(
                f"the supervisor of the embedded server in {folder} does not answer: end it, {OTHERWISE}"
            ) from None
        except OSError:
            return
        if not received:
            return
        *lines, unread = (unread + received).split(b"\n")
        yield from map(json.loads, lines)


def _stop_orphan(link: dict[str, object]) -> None:
    """Stop a server whose supervisor and guard were killed: only one server may write a folder's data.

    It is asked on its own socket, by its supervisor's user, whose password nobody else knows. Only if it does not react
    is its process killed, and only if that was born when the link file says.
    """
    with contextlib.suppress(OSError):
        server_files.ask(
            str(link["unix_socket_path"]), server_files.login(str(link["admin_password"])), "SHUTDOWN NOSAVE"
        )
    pid, birth = int(str(link["server_pid"])), link["server_birth"]
    patience = time.monotonic() + 2.0
    while birth and server_files.birth_of(pid) == birth:
        if time.monotonic() > patience:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)


# -- holding -----------------------------------------------------------------------------------------------

_holds: weakref.WeakSet[Hold] = weakref.WeakSet()


class Hold:
    """One user's hold on the embedded server of a folder, from joining to `close`.

    If the supervisor is killed, a thread joins again at once (the new supervisor uses the same sockets). A
    forked child lets go of its parent's hold, which would keep the server alive for as long as the child
    lives, and takes its own when it first asks for the address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed = False
        self._changing = threading.RLock()
        self._socket: socket.socket | None = None
        self._address: dict[str, object] = {}
        self.address()
        _holds.add(self)

    def address(self) -> dict[str, object]:
        """Where the server is, with its password; joins again if the hold was lost."""
        with self._changing:
            if self._socket is None and not self.closed:
                try:
                    self._socket, self._address = join(self.folder)
                except FlownbError as error:
                    raise error.with_traceback(None) from None  # frames below hold passwords
                name = "flownb-connection-hold"
                threading.Thread(target=self._watch, args=[self._socket], name=name, daemon=True).start()
            return dict(self._address)

    def _watch(self, held: socket.socket) -> None:
        """Wait for the end of the supervisor, or of this hold."""
        with contextlib.suppress(OSError):
            while held.recv(4096):
                pass
        with self._changing:
            if self._socket is not held:
                return
            held.close()
            self._socket = None
        with contextlib.suppress(FlownbError):  # whoever next asks for the address is told
            self.address()

    def close(self) -> None:
        """Let go; the server stops if nobody else holds it."""
        with self._changing:
            self.closed = True
            held, self._socket = self._socket, None
        if held:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)  # wakes the watching thread; close alone does not
            held.close()

    def _let_go_after_fork(self) -> None:
        self._changing = threading.RLock()  # the parent's may have been held by a thread that is not here
        if self._socket:
            self._socket.close()  # not shutdown: that would end the parent's hold as well
            self._socket = None


def _let_go_after_fork() -> None:
    for hold in list(_holds):
        hold._let_go_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)
