"""What a person does to jobs where they stand in line: clear them away, let them run sooner, later or before others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flownb.wire import keys
from flownb.wire.store.limits import CHUNK_JOBS, JOBS_A_CHANGE, check_size
from flownb.wire.store.server import Server


class Cleared(NamedTuple):
    """What became of the jobs of one call of ``clear_jobs``."""

    removed: list[str]  #: ids
    larger: list[str]  #: keys of jobs of flows to which more belongs than themselves; they are there
    #: keys of those in the same queue that would wait for nobody; their last child is there
    parents: list[str]


class JobMoves:
    """Jobs by their queue and id."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def clear(
        self,
        base: str,
        state: str,
        ids: Sequence[str],
        *,
        before: int | None = None,
        whole: bool = False,
        spared: str | None = None,
        tell: bool = False,
    ) -> Cleared:
        """Remove jobs of one state, as BullMQ's drain and clean do. See ``lua/transitions/clear_jobs.lua``."""
        check_size(ids, JOBS_A_CHANGE)
        asked = {"state": state, "ids": ids, "before": before, "whole": whole, "spared": spared, "tell": tell}
        reply = self._server.call("clear_jobs", [base], prefix=self._server.prefix, **asked)
        return Cleared(reply["removed"], reply["larger"], reply["parents"])

    def promote(self, base: str, ids: Sequence[str], *, in_bulk: bool = False) -> int:
        """Let delayed jobs run now; return how many were delayed."""
        check_size(ids, CHUNK_JOBS)
        promoted: int = self._server.call("promote_jobs", [base], ids=ids, in_bulk=in_bulk)["promoted"]
        return promoted

    def change_delay(self, base: str, id: str, delay: int) -> bool:
        """Let a delayed job be due in `delay` ms; say whether it was delayed."""
        changed: bool = self._server.call("change_delay", [base], id=id, delay=delay)["changed"]
        return changed

    def change_priority(self, base: str, id: str, priority: int, *, lifo: bool = False) -> None:
        """Give a job another priority, and its place in line by it."""
        self._server.call("change_priority", [base], id=id, priority=priority, lifo=lifo)

    def cancel_job(self, job: str) -> str:
        """End one job that does not run, or tell the run of it; return in which state it was."""
        state: str = self._server.call("cancel_job", [keys.base_of(job)], job=job)["state"]
        return state

    def remove_child_dependency(self, job: str, parent: str) -> tuple[bool, bool]:
        """Let a parent go on without a child; say whether it waited for it, and whether the child leaves its flow."""
        reply = self._server.call("remove_child_dependency", [keys.base_of(job)], job=job, parent=parent)
        return reply["removed"], bool(reply.get("leaves_flow"))
