"""Repair what is stored wrong, as far as that loses nothing; each call checks for itself whether there is need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flownb.wire import keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.server import Server

_JOBS_A_CALL = 20  # each is looked for along its queue's lists
_PAIRS_A_CALL = 500


class Repair:
    """What a doctor changes."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def states(self, jobs: Sequence[str]) -> None:
        """Put jobs that their queue lists twice or nowhere where they belong."""
        for some in in_pieces(jobs, _JOBS_A_CALL):
            self._server.call("repair_states", [keys.base_of(some[0])], jobs=some)

    def children(self, pairs: Sequence[tuple[str, str]], parents: Sequence[str] = ()) -> None:
        """Let parents know what has become of children, given as pairs of both; `parents` that wait for none go on."""
        for start in range(0, max(len(pairs), 1), _PAIRS_A_CALL):
            some = pairs[start : start + _PAIRS_A_CALL]
            base = keys.base_of(some[0][0] if some else parents[0])
            self._server.call("repair_children", [base], pairs=some, parents=[] if start else parents)

    def flow(
        self,
        base: str,
        flow: str,
        was: Mapping[str, int] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Let a flow's end be its root's, and set its counts where they are still what they were.

        `base` is its root's queue.
        """
        self._server.call("repair_flow", [base], flow=flow, was=was or {}, counts=counts or {})

    def let_expire(self, key: str, ms: int) -> None:
        """Let a key that has no end expire after a while."""
        with server_errors():
            self._server.client.pexpire(key, ms)
