"""What jobs and flows have spent: told while a job runs, read for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flownb.wire import codec
from flownb.wire.store.limits import CHUNK_JOBS, in_pieces
from flownb.wire.store.server import Server


class SpentByRun(NamedTuple):
    """What one run of a job has spent so far."""

    base: str
    id: str
    attempts_started: int
    spent: Sequence[str | int]  #: as `flat` has it: unit, parts, unit, parts
    rows: Sequence[str | int] = ()  #: of a job that holds many rows, as `flat_of_rows` has it


class Accounts:
    """Accounts of flows; the runs of a batch's name have one together."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def tell(self, runs: Sequence[SpentByRun]) -> None:
        """Let it count what these runs of jobs have spent so far; those of jobs that are gone count no more."""
        for some in in_pieces(runs, CHUNK_JOBS):
            queues = list(dict.fromkeys(run.base for run in some))
            self._server.call("tell_spent", queues, runs=some)

    def read(self, account: str) -> dict[str, int]:
        """Return what was spent on an account, by unit."""
        return self.read_many([account])[account]

    def read_many(self, accounts: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return what was spent on accounts; nothing of one of which the key has another type."""
        with self._server.pipeline() as pipe:
            for account in accounts:
                pipe.hgetall(self._server.key("spent", account))
            found: Any = pipe.execute(raise_on_error=False)
        return {
            account: {} if isinstance(fields, Exception) else units_of(_in_text(fields))
            for account, fields in zip(accounts, found, strict=True)
        }


def _in_text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {codec.text(unit): codec.text(parts) for unit, parts in fields.items()}


def units_of(fields: dict[str, str]) -> dict[str, int]:
    """Return the amounts among the fields of a stored account.

    >>> units_of({"usd": "5", "tokens": "x", ":flows": "2"})
    {'usd': 5}
    """
    return {
        unit: int(parts) for unit, parts in sorted(fields.items()) if parts.isdecimal() and unit[:1] != ":"
    }
