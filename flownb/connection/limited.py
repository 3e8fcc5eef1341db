"""Connections and resends of redis-py's that keep to the time of a call.

A network may swallow what is sent, without an error: then only a limit of time ends a call. It is one for the whole
call, however often that connects, is answered slowly or is sent again.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from flownb.connection import patience

if TYPE_CHECKING:
    import redis

T = TypeVar("T")


class PatientRetry(Retry):
    """Sends a call again after a lost connection, as long as the call's time lasts."""

    def __init__(self, backoff: Any, resends: int, call_seconds: float) -> None:
        super().__init__(backoff, resends)
        self._call_seconds = call_seconds

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Call `do` until it succeeds; `fail` sees each error."""
        with patience.CallTime(self._call_seconds):
            self._backoff.reset()
            failures = 0
            while True:
                try:
                    return do()
                except self._supported_errors as error:
                    if is_retryable and not is_retryable(error):
                        raise
                    failures += 1
                    fail(error, failures) if with_failure_count else fail(error)
                    pause = self._backoff.compute(failures)
                    if failures > self._retries or pause >= (patience.left() or 0.0):
                        raise
                    time.sleep(pause)


class _Limited:
    """A connection that waits no longer than the call lasts to which its present command belongs."""

    _sock: Any
    socket_timeout: Any
    socket_connect_timeout: Any
    _is_limited = False
    _reader: int | None = None  # the thread that waits for an answer; that thread writes it

    def __init__(self, *args: Any, **options: Any) -> None:
        self._closing = threading.Lock()  # nobody begins to wait on a line that is just being closed
        super().__init__(*args, **options)

    def connect(self) -> None:
        """Connect, where it is not. Asked before each command: without the retries around it, which take 4 us."""
        if self._sock is None:
            super().connect()  # type: ignore[misc]

    def _connect(self) -> Any:
        before, left = self.socket_connect_timeout, patience.left()
        if left is not None and left < before:
            self.socket_connect_timeout = left
        try:
            return super()._connect()  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = before

    def send_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().send_command(*args, **options)  # type: ignore[misc]
        except UnicodeEncodeError:
            return super().send_command(*map(_as_it_came, args), **options)  # type: ignore[misc]

    def pack_commands(self, commands: Sequence[Sequence[Any]]) -> Any:
        try:
            return super().pack_commands(commands)  # type: ignore[misc]
        except UnicodeEncodeError:
            return super().pack_commands([[*map(_as_it_came, args)] for args in commands])  # type: ignore[misc]

    def send_packed_command(self, *args: Any, **options: Any) -> Any:
        self._limit()
        return super().send_packed_command(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        self._limit()
        with self._closing:
            self._reader = threading.get_ident()
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        finally:
            self._reader = None

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Close the connection; where another thread waits for an answer, that one does, and is woken.

        Closed here, its number may be another connection's before the other thread has begun to wait in the system,
        and it would wait on that one.
        """
        with self._closing:
            line = self._sock
            if line is None or self._reader in (None, threading.get_ident()):
                super().disconnect(*args, **options)  # type: ignore[misc]
                return
            with contextlib.suppress(OSError):  # it is closed already
                line.shutdown(socket.SHUT_RDWR)

    def _limit(self) -> None:
        left = patience.left()
        is_short = left is not None and left < self.socket_timeout
        if self._sock is not None and (is_short or self._is_limited):
            self._sock.settimeout(left if is_short else self.socket_timeout)
            self._is_limited = is_short


def _as_it_came(part: Any) -> Any:
    """Return what is sent, bytes that were no UTF-8 as the server had them; half a character of a caller's raises."""
    return part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part


class _OverTcp(_Limited, Connection):
    """A connection to a host."""


class _OverTls(_Limited, SSLConnection):
    """A connection that is encrypted and verified."""


class _OverSocket(_Limited, UnixDomainSocketConnection):
    """A connection through a socket of this machine."""


_OF = {Connection: _OverTcp, SSLConnection: _OverTls, UnixDomainSocketConnection: _OverSocket}


def limit(client: redis.Redis) -> redis.Redis:
    """Let a new client's connections keep to the time of a call; return it."""
    pool = client.connection_pool
    pool.connection_class = _OF[pool.connection_class]
    return client
