"""Connection: the way to one server, under one prefix; and the default one of this process."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flownb.arguments import flag, shown
from flownb.connection import address as addresses
from flownb.connection import checks, embedded
from flownb.connection.folder import folder_for
from flownb.errors import FlownbError, OptionError, ReadOnly, ServerError, ServerRefused
from flownb.wire import keys

if TYPE_CHECKING:
    import redis

log = logging.getLogger("flownb")
_all: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection:
    """The way to one server, under one prefix.

    `url_or_redis_client` is a ``redis://``, ``rediss://`` or ``unix://`` URL or a `redis.Redis`, whose
    address is taken. Without it: `path`, the folder of an embedded server; else the variable ``FLOWNB_URL``;
    else the embedded server of the nearest ``.flownb`` folder. ``FLOWNB_PASSWORD`` stands in for a password
    that the URL lacks.

    The server is asked at once: ServerUnreachable or ServerRefused say in one line what is wrong.

    >>> with Connection(path="results/.flownb") as connection:  # doctest: +SKIP
    ...     connection.client().ping()
    True
    """

    def __init__(
        self,
        url_or_redis_client: str | redis.Redis | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        prefix: str = "bull",
        read_only: bool = False,
    ) -> None:
        checks.ensure_client_library()
        self.prefix = keys.checked_prefix(prefix)
        self.read_only = flag("read_only", read_only)
        self.closed = False
        self._changing = threading.RLock()
        self._on_close: list[Callable[[], object]] = []
        self._fit_for_writing = False
        self._client: redis.Redis | None = None
        self._client_address: dict[str, object] = {}
        self._hold: embedded.Hold | None = None
        self._address: dict[str, object] = {}
        _all.add(self)
        asked, url_or_redis_client = _Asked.of(url_or_redis_client), None
        try:
            self._open(asked, path)
        except FlownbError as error:
            self.close()
            raise error.with_traceback(
                None
            ) from None  # frames below hold the password, and tracebacks may show it
        except BaseException:
            self.close()
            raise

    def _open(self, asked: _Asked, path: object) -> None:
        self._address = _address_asked_for(asked.value, path)
        if not self._address:
            self._hold = embedded.Hold(folder_for(path))  # type: ignore[arg-type]
        addresses.knock(self.address())

    @property
    def embedded(self) -> bool:
        """Whether this is the server flownb starts itself."""
        return self._hold is not None

    @property
    def path(self) -> Path | None:
        """The ``.flownb`` folder of the embedded server; None for any other server."""
        return self._hold.folder if self._hold else None

    @property
    def place(self) -> str:
        """Where the server is, as messages show it: without credentials; for an embedded server, its folder."""
        return str(self.path) if self._hold else addresses.shown(self._address)

    def client(self) -> redis.Redis:
        """Return the shared client for commands: bytes, thread-safe, resends with growing pauses of at most 1 s.

        Resending after a lost reply is right because every write of flownb may arrive twice. If the server
        stays away, redis-py's ConnectionError or TimeoutError comes after some seconds.

        >>> connection.client().exists("bull:no-such-queue:meta")
        0
        """
        address = self.address()
        with self._changing:
            if self._client is None or self._client_address != address:
                self._client = addresses.make_client(address, resends=addresses.RESENDS)
                self._client_address = address
            return self._client

    def blocking_client(self) -> redis.Redis:
        """Return a new client for one loop of blocking commands of up to 10 s, without resends. Close it.

        >>> with connection.blocking_client() as client:
        ...     print(client.blpop("doc-inbox", timeout=0.01))
        None
        """
        longest = addresses.LONGEST_BLOCK_SECONDS + addresses.LATE_SECONDS
        return addresses.make_client(self.address(), timeout=longest)

    def worker_client(self) -> redis.Redis:
        """Return a new client for one worker, which sends again by itself: 8 s per command. Close it.

        >>> with connection.worker_client() as client:
        ...     client.ping()
        True
        """
        return addresses.make_client(self.address())

    def address(self) -> dict[str, object]:
        """Return where the server is, with credentials, for another process on this machine; JSON-able.

        ``url`` or ``unix_socket_path``, and redis-py's options. Give it away through a pipe only, never on a
        command line. An embedded server stops when the last Connection closes, whoever has its address.

        >>> sorted(connection.address())  # of an embedded server
        ['password', 'unix_socket_path']
        """
        if self.closed:
            raise OptionError("this connection is closed: make a new one with flownb.connect()")
        return self._hold.address() if self._hold else dict(self._address)

    @staticmethod
    def client_from_address(address: dict[str, object]) -> redis.Redis:
        """Return a client for what `address()` returned, like that of `worker_client`.

        >>> with Connection.client_from_address(connection.address()) as client:
        ...     client.ping()
        True
        """
        return addresses.make_client(address)

    def ensure_writable(self) -> None:
        """Check before the first write: raise ReadOnly, or ServerRefused with the reason and the remedy.

        The server is asked once per connection.

        >>> Connection(connection.client(), read_only=True).ensure_writable()
        Traceback (most recent call last):
            ...
        flownb.errors.ReadOnly: this connection only reads: connect without read_only=True to write
        """
        if self.read_only:
            raise ReadOnly("this connection only reads: connect without read_only=True to write")
        if self._fit_for_writing:
            return
        import redis

        try:
            reason = checks.reason_against_writing(self.client())
        except (redis.RedisError, OSError) as error:
            raise addresses.explain(error, self.address()) from None
        if reason:
            raise ServerRefused(reason)
        self._fit_for_writing = True

    def on_close(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called when this connection closes, before its clients do; last added first.

        Returns the call that takes it back.

        >>> with Connection(connection.client()) as other:
        ...     stay_silent = other.on_close(lambda: print("closing"))
        ...     print("open")
        open
        closing
        """
        if not callable(callback):
            raise OptionError(f"callback: a function without arguments, not {shown(callback)}")
        self._on_close.append(callback)
        return lambda: self._on_close.remove(callback) if callback in self._on_close else None

    def close(self) -> None:
        """Call what was registered, close the client, release an embedded server. May be called twice.

        >>> other = Connection(connection.client())
        >>> other.close()
        >>> other.closed
        True
        """
        with self._changing:
            if self.closed:
                return
            while self._on_close:
                try:
                    self._on_close.pop()()
                except Exception as error:  # one that fails must not keep the others from stopping
                    log.warning("closing %r: %s: %s", self, type(error).__name__, error)
            self.closed = True
        if self._client:
            self._client.close()
        if self._hold:
            self._hold.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """The same in every run and on every machine: no credentials, no folders."""
        parts = ["embedded" if self.embedded else repr(self._address.get("url", "unix socket"))]
        if self.prefix != "bull":
            parts.append(f"prefix={self.prefix!r}")
        if self.read_only:
            parts.append("read_only=True")
        return f"Connection({', '.join(parts)})"


class _Asked:
    """A URL or client on its way in: as a local variable of a frame it shows nothing."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    @classmethod
    def of(cls, given: object) -> _Asked:
        return given if isinstance(given, cls) else cls(given)


def _address_asked_for(asked: object, path: object) -> dict[str, object]:
    """The address of the server somebody named; {} if it is to be the embedded one."""
    if asked is not None and path is not None:
        raise OptionError(
            "pass either a URL (or client) or path=, not both: path= is the embedded server's folder"
        )
    if isinstance(asked, str):
        return addresses.address_from_url(asked)
    if asked is not None:
        return addresses.address_of_client(asked)  # type: ignore[arg-type]
    if path is None and (url := os.environ.get("FLOWNB_URL")):
        return addresses.address_from_url(url, "FLOWNB_URL")
    return {}


# -- the default connection --------------------------------------------------------------------------------

_default: Connection | None = None
_refusal: FlownbError | None = None  # of the last `connect`, if it failed
_choosing = threading.RLock()  # held while these two are read or written


def connect(
    url_or_redis_client: str | redis.Redis | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    prefix: str = "bull",
    read_only: bool = False,
) -> Connection:
    """Set the default connection and close the old one with its workers; arguments as for `Connection`.

    If the new server cannot be reached, every use of the default connection raises what this raised, until a `connect`
    succeeds: nothing lands on another server. Handles and workers of the old default go on.

    >>> connect("redis://example.org", prefix="acme", read_only=True)  # doctest: +SKIP
    Connection('redis://example.org:6379/0', prefix='acme', read_only=True)
    """
    global _default, _refusal
    asked: Any = _Asked.of(url_or_redis_client)
    url_or_redis_client = None
    with _choosing:
        try:
            new = Connection(asked, path=path, prefix=prefix, read_only=read_only)
        except BaseException as error:
            kind = type(error) if isinstance(error, FlownbError) else ServerError
            said = str(error) or f"connect() ended with {type(error).__name__}"
            _refusal = kind(f"{said}; nothing is sent anywhere until a connect() succeeds")
            raise
        old, _default, _refusal = _default, new, None
    if old:
        old.close()
    return new


def current(given: Connection | None = None) -> Connection:
    """The connection that was given, or the default one, made at its first use, and again after it was closed.

    After a `connect` that failed there is no default one: raises what that has raised.
    """
    if given is not None:
        if not isinstance(given, Connection):
            raise OptionError(
                f"connection: make one first, flownb.Connection(url_or_client); not {type(given).__name__}"
            )
        return given
    global _default
    with _choosing:
        if _refusal is not None:
            raise type(_refusal)(*_refusal.args)
        if _default is None or _default.closed:
            _default = Connection()
        return _default


def _renew_locks_after_fork() -> None:
    """A lock may have been held by a thread of the parent that the child does not have."""
    global _choosing
    _choosing = threading.RLock()
    for connection in list(_all):
        connection._changing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks_after_fork)
