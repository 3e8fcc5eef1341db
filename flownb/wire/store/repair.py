"""Putting right what is stored wrong, as far as that loses nothing: a part of `Store`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flownb.wire import keys
from flownb.wire.server_errors import server_errors

if TYPE_CHECKING:
    from redis import Redis

_JOBS_A_CALL = 20  # each is looked for along its queue's lists
_PAIRS_A_CALL = 500


class Mending:
    """Transitions that a doctor makes. Each looks for itself whether there is something to mend."""

    client: Redis
    prefix: str

    def repair_states(self, jobs: Sequence[str]) -> None:
        """Put jobs that stand twice or nowhere where they belong."""
        for start in range(0, len(jobs), _JOBS_A_CALL):
            some = jobs[start : start + _JOBS_A_CALL]
            self._call("repair_states", [keys.base_of(some[0])], jobs=some)

    def repair_children(self, pairs: Sequence[tuple[str, str]], parents: Sequence[str] = ()) -> None:
        """Let parents know what has become of children, given as pairs of both; `parents` that wait for none go on."""
        for start in range(0, max(len(pairs), 1), _PAIRS_A_CALL):
            some = pairs[start : start + _PAIRS_A_CALL]
            base = keys.base_of(some[0][0] if some else parents[0])
            self._call("repair_children", [base], pairs=some, parents=[] if start else parents)

    def repair_flow(
        self,
        base: str,
        flow: str,
        was: Mapping[str, int] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Let a flow go on that has ended by its record alone, and set its counts where they are still what they were.

        `base` is its root's queue.
        """
        self._call("repair_flow", [base], flow=flow, was=was or {}, counts=counts or {})

    def let_run_out(self, key: str, ms: int) -> None:
        """Let a key go after a while that had no end."""
        with server_errors():
            self.client.pexpire(key, ms)

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> Mapping[str, Any]:
        raise NotImplementedError
