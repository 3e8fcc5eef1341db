"""What is known of a stored flow: its record, its end, its counts, whoever stored it.

flownb's scripts write a record and counts for flows that flownb stored; other flows are read from BullMQ's keys.
A handle asks its `FlowState` and does not care which it is. Only `catch_up` writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from flownb.errors import JobMissing, printable
from flownb.state import counting
from flownb.state.catch_up import CatchUp
from flownb.state.count_check import CountCheck
from flownb.state.shape import Declared, LinkedShape, Shape
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, WAITING, FlowCounts, JobRecord
from flownb.wire.store import Store

_GONE = "the flow is not on this server any more; its data were removed"


class End(NamedTuple):
    """How a flow ended."""

    state: str | None  #: ``completed``, ``failed`` or ``cancelled``; None while it has not ended
    cause: str | None  #: the key of the job that failed first


class FlowState(ABC):
    """The state of one flow, read anew at each question."""

    flow: str | None = None  #: the id of a flow that flownb stored
    root: str  #: its root job's key
    first_record: dict[str, str]  #: the record when this was made; empty when there was no such flow
    shape: Shape  #: every job that was found so far; replaced by `explore` and `counts`

    @abstractmethod
    def record(self) -> dict[str, str]:
        """Return name, root, created (ms), and ended, finished, cause where it has come to that.

        Empty when the flow is not on the server.
        """

    @abstractmethod
    def end(self) -> End:
        """Return how the flow ended. Raises `JobMissing` for a flow that is gone: it will not end."""

    @abstractmethod
    def catch_up(self, *, rounds_after: float = 0.0) -> End:
        """Write what other programs' workers left unwritten; then return how the flow ended, as `end` does.

        Who asks again and again may leave the whole tree unread for the first `rounds_after` seconds.
        """

    @abstractmethod
    def explore(self) -> None:
        """Read the tree until `shape` holds every job that is there."""

    @abstractmethod
    def counts(self, patience: float | None = None) -> FlowCounts:
        """Count the jobs of the whole tree; where the tree must be walked, for at most `patience` seconds."""


class OwnFlowState(FlowState):
    """The state of a flow that flownb stored: its scripts write every step into a record and counts.

    Workers of other programs do not. What they ended is read from BullMQ's own keys until somebody catches up.
    """

    def __init__(self, store: Store, flow: str, record: dict[str, str] | None = None) -> None:
        """`record` is what the caller has just stored: it need not be read."""
        self._store = store
        self.flow = self._flow = flow
        self.first_record = store.flows.read(flow) if record is None else record
        self.root = self.first_record.get("root", "")
        declared = Declared(store, self.root)
        self.shape = declared
        self._found = LinkedShape(store, self.root, flow)
        self._count_check = CountCheck(store, flow, declared)
        self._catch_up = CatchUp(store, declared)
        self._has_ended = False  # at the last question

    def record(self) -> dict[str, str]:
        record = self._store.flows.read(self._flow)
        if record:
            finished = self._store.jobs.read_finished(self.root) if "ended" in record else None
            record = _with_roots_end(self._store, self.root, record, finished)
        self._note_end("ended" in record)
        return record

    def end(self) -> End:
        record, finished = self._store.flows.read_both_ends(self._flow, self.root)
        record = _with_roots_end(self._store, self.root, record, finished)
        self._note_end("ended" in record)
        return End(record.get("ended"), record.get("cause"))

    def catch_up(self, *, rounds_after: float = 0.0) -> End:
        if self._store.read_only:
            return self.end()
        record, finished = self._store.flows.read_both_ends(self._flow, self.root)
        if record.get("ended") != CANCELLED and self._catch_up.catch_up(
            record.get("finished"), finished, rounds_after
        ):
            return self.end()
        self._note_end("ended" in record)
        return End(record.get("ended"), record.get("cause"))

    def _note_end(self, has_ended: bool) -> None:
        """Check the counts anew once the flow is known to have ended, or to run again."""
        if has_ended != self._has_ended:
            self._has_ended = has_ended
            self._count_check.check_next_time()

    def counts(self, patience: float | None = None) -> FlowCounts:
        counts = self._explore(patience)
        if not self._count_check.others_ran_jobs:
            return counts
        found = counting.count(self._store, self.shape)
        return replace(
            found,
            paused=counts.paused,
            paused_why=counts.paused_why,
            pause=counts.pause,
            counting=found.counting or not self._found.complete,
        )

    def explore(self) -> None:
        self._explore(None)

    def _explore(self, patience: float | None) -> FlowCounts:
        """Read the stored counts. Programs that had a job of the flow may have added jobs too, which are in
        BullMQ's own keys alone: then `shape` becomes the tree as those keys have it.
        """
        counts = self._count_check.counts()
        if self._count_check.others_ran_jobs:
            self._found.explore(patience)
            if self._found.complete:
                self.shape = self._found
        return counts


class FoundFlowState(FlowState):
    """The state of a flow that another program stored, or flownb as that would: only BullMQ's own keys have it."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self.root = root
        self.shape = LinkedShape(store, root)
        self.first_record = self.record()

    def record(self) -> dict[str, str]:
        root = self._store.jobs.read([self.root], ("name", "timestamp", "finishedOn"))[0]
        if root is None:
            return {}
        record = {"name": root.name, "root": self.root, "created": str(root.timestamp), "stored": "1"}
        return record | _unwritten_end(self._store, self.root, root)

    def end(self) -> End:
        record = self.record()
        if not record:
            raise JobMissing(_GONE)
        return End(record.get("ended"), record.get("cause"))

    def catch_up(self, *, rounds_after: float = 0.0) -> End:
        """Write nothing: no flow of flownb's is there to be written to."""
        return self.end()

    def explore(self) -> None:
        self.shape.explore()

    def counts(self, patience: float | None = None) -> FlowCounts:
        self.shape.explore(patience)
        return counting.count(self._store, self.shape)


def state_of(record: Mapping[str, str], root: JobRecord | None) -> str:
    """Return a flow's state: how it ended, ``failing`` while a failure climbs, else its root's."""
    if "ended" in record:
        return record["ended"]
    if "cause" in record:
        return "failing"
    return (root.state if root else None) or WAITING


def rows_to_come(record: Mapping[str, str]) -> str:
    """Say why a batch whose rows come piece by piece has not all of them; empty where it has."""
    if "pieces" not in record or "stored" in record:
        return ""
    if "cut" in record:
        return f"half stored: reading its rows raised {printable(record['cut'])}"
    return "half stored: its rows are still being read, or the program that reads them died"


def _with_roots_end(store: Store, root: str, record: dict[str, str], finished: str | None) -> dict[str, str]:
    """Return a record with the root's own end: another program may have ended the root, or put it back since.

    `finished` is when the root ended, as its hash has it; it is asked of a flow that has ended by its record.
    """
    if record.get("ended") == CANCELLED:
        return record
    if "ended" in record and finished is not None and finished == record.get("finished"):
        return record
    job = store.jobs.read([root], ("finishedOn",))[0]
    if "ended" in record and job is not None:
        record = {name: value for name, value in record.items() if name not in ("ended", "finished", "cause")}
    return record | _unwritten_end(store, root, job)


def _unwritten_end(store: Store, root: str, job: JobRecord | None) -> dict[str, str]:
    """Return ended, finished and cause as far as the root's own keys have them."""
    if job is None:
        return {}
    found: dict[str, str] = {}
    if job.state in (COMPLETED, FAILED):
        found = {"ended": job.state, "finished": str(job.finished_on or 0)}
    if job.state != COMPLETED:
        cause = store.children.read_first_failure(root)
        if cause != root or job.state == FAILED:
            found["cause"] = cause
    return found
