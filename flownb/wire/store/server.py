"""One server under one prefix: how the store's parts run scripts and send commands, and what only reads may do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flownb import errors
from flownb.wire import keys, versions
from flownb.wire.scripts import Script, load
from flownb.wire.server_errors import server_errors
from flownb.wire.store import without_scripts

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


class Server:
    """What the parts of a store share. Safe to share between threads, as the client is."""

    def __init__(self, client: Redis, prefix: str, *, read_only: bool = False) -> None:
        self.client = client
        self.prefix = prefix
        self.read_only = read_only
        self.fixed_time: int | None = None  #: ms; what scripts take for the present. Only tests set it
        self._may_run_scripts = True

    def key(self, kind: str, name: str = "") -> str:
        """Return a key of flownb's own under this prefix."""
        return keys.own(self.prefix, kind, name)

    def call(self, script: str, queues: Sequence[str], **args: Any) -> dict[str, Any]:
        """Run a script on these queues and return its reply."""
        made = load(script)
        if "now" in made.args:
            args["now"] = self.fixed_time
        if script not in without_scripts.READS:
            versions.refuse_newer(self.client, queues)
        with server_errors():
            try:
                return self._read(made, queues, args) if self.read_only else made(self.client, queues, **args)
            except errors.JobMissing as error:  # which says the key alone
                raise errors.job_missing(keys.short(str(error), self.prefix), type(error)) from None

    def _read(self, script: Script, queues: Sequence[str], args: dict[str, Any]) -> dict[str, Any]:
        """Run a script where the server promises that it only reads; otherwise send plain commands."""
        from redis.exceptions import NoPermissionError, ResponseError

        if script.name not in without_scripts.READS:
            raise errors.ReadOnly("this connection only reads: connect without read_only=True to write")
        if self._may_run_scripts:
            try:
                return script.ask(self.client, queues, **args)
            except ResponseError as error:
                if not isinstance(error, NoPermissionError) and "unknown command" not in str(error).lower():
                    raise
                self._may_run_scripts = False
        found: dict[str, Any] = without_scripts.READS[script.name](self.client, queues, **args)
        return found

    def read_without_scripts(self) -> None:
        """Send plain commands for reads from now on, as for a user that may run no scripts."""
        self._may_run_scripts = False

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """Collect commands that travel together; nothing makes them one transaction."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            yield pipe

    @property
    def socket(self) -> str | None:
        """The path of the socket on which the server is reached; None where it is reached in another way."""
        path: str | None = self.client.connection_pool.connection_kwargs.get("path")
        return path

    def read_clients(self) -> list[dict[str, Any]]:
        """Return who is connected; ServerRefused where we may not know."""
        with server_errors():
            found: Any = self.client.client_list()
        return list(found)

    def read_time(self) -> int:
        """Return the server's time in ms."""
        with server_errors():
            now: Any = self.client.time()
        return int(now[0]) * 1000 + int(now[1]) // 1000

    def read_write_problem(self) -> tuple[str, str] | None:
        """Return why the server takes no writes and what mends that; None if it does, or if that cannot be asked."""
        import redis.exceptions

        try:
            memory: Any = self.client.info("memory")
            replication: Any = self.client.info("replication")
            disk: Any = self.client.info("persistence")
        except redis.exceptions.ResponseError:
            return None
        limit = int(memory.get("maxmemory", 0))
        is_full = limit and int(memory.get("used_memory", 0)) >= limit
        if replication.get("role") == "slave":
            return "the server is a read-only replica now", "connect to the primary"
        if is_full and memory.get("maxmemory_policy") == "noeviction":
            return (
                f"the server is out of memory: it holds all of its {limit:,} bytes (maxmemory)",
                "raise maxmemory, or remove what is not needed",
            )
        if "err" in (disk.get("aof_last_write_status"), disk.get("rdb_last_bgsave_status")):
            return (
                "the server could not write to its disk and may refuse writes",
                "see whether the disk is full",
            )
        return None
