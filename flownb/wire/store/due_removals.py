"""What is to be removed by itself: flows by their age, and ended jobs beyond the number that their queue keeps."""

from __future__ import annotations

from collections.abc import Sequence

from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server


class DueRemovals:
    """Says what is due; the removal itself is `Jobs.remove`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def claim_due(self, most: int = 10) -> tuple[list[str], int]:
        """Return flows of which something is to be removed now, claimed for a minute, and the server's time in ms."""
        prefix = self._server.prefix
        reply = self._server.call(
            "claim_auto_remove", [keys.base(prefix, "flownb")], prefix=prefix, most=most
        )
        return reply["flows"], reply["now"]

    def postpone(self, flow: str, due: int | None) -> None:
        """Let a flow be due at `due` (ms), or never again."""
        dues = self._server.key("tidy")
        with server_errors():
            if due is None:
                self._server.client.zrem(dues, flow)
            else:
                self._server.client.zadd(dues, {flow: due}, xx=True)

    def keep_newest(self, state: str, job: str, finished: int, count: int) -> list[str]:
        """Count an ended job among those of its queue that are kept by number; return those that are too many."""
        ranked, client = self._kept(state, job), self._server.client
        with server_errors():
            client.zadd(ranked, {job: finished})
            kept = [codec.text(key) for key in client.zrange(ranked, 0, -1, desc=True)]
            gone = [key for key in kept if not client.exists(key)]
            if gone:
                client.zrem(ranked, *gone)
        return [key for key in kept if key not in gone][count:]

    def forget_kept(self, jobs: Sequence[str]) -> None:
        """Count these jobs no more among those that are kept by number."""
        with self._server.pipeline() as pipe:
            for job in jobs:
                for state in (COMPLETED, FAILED):
                    pipe.zrem(self._kept(state, job), job)
            pipe.execute()

    def _kept(self, state: str, job: str) -> str:
        return self._server.key(f"kept:{state}", keys.base_of(job))
