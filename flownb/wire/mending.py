"""Putting right what is stored wrong, as far as that loses nothing: a part of `Store`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flownb.wire.faults import server_errors

if TYPE_CHECKING:
    from redis import Redis

_JOBS_A_CALL = 20  # each is looked for along its queue's lists
_PAIRS_A_CALL = 500


class Mending:
    """Transitions that a doctor makes. Each looks for itself whether there is something to mend."""

    client: Redis
    prefix: str

    def mend_places(self, jobs: Sequence[str]) -> int:
        """Put jobs that stand twice or nowhere where they belong; return how many."""
        mended = 0
        for start in range(0, len(jobs), _JOBS_A_CALL):
            some = jobs[start : start + _JOBS_A_CALL]
            mended += self._call("mend_places", [some[0].rsplit(":", 1)[0]], jobs=some)["mended"]
        return mended

    def mend_families(self, pairs: Sequence[tuple[str, str]], parents: Sequence[str] = ()) -> int:
        """Let parents know what has become of children, given as pairs of both; and `parents` that wait for none go on.

        Returns how many pairs and parents were mended.
        """
        mended = 0
        for start in range(0, max(len(pairs), 1), _PAIRS_A_CALL):
            some = pairs[start : start + _PAIRS_A_CALL]
            base = (some[0][0] if some else parents[0]).rsplit(":", 1)[0]
            reply = self._call("mend_families", [base], pairs=some, parents=[] if start else parents)
            mended += reply["mended"]
        return mended

    def mend_flow(
        self,
        base: str,
        flow: str,
        was: Mapping[str, int] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> int:
        """Let a flow go on that has ended by its record alone, and set its counts where they are still what they were.

        `base` is its root's queue.
        """
        reply = self._call("mend_flow", [base], flow=flow, was=was or {}, counts=counts or {})
        mended: int = reply["mended"]
        return mended

    def let_run_out(self, key: str, ms: int) -> int:
        """Let a key go after a while that had no end."""
        with server_errors():
            found: Any = self.client.pexpire(key, ms)
        return int(found)

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> Mapping[str, Any]:
        raise NotImplementedError
