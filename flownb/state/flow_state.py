"""What is known of a stored flow: its record, its end, its counts. flownb's own flows keep books; others are read.

A handle asks its books and does not care who made the flow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from flownb.errors import JobMissing
from flownb.state import counting
from flownb.state.catch_up import Coordinator
from flownb.state.count_check import Audit
from flownb.state.shape import Declared, Found, Shape
from flownb.wire.records import COMPLETED, FAILED, FlowCounts
from flownb.wire.store import Store

_GONE = "the flow is not on this server any more; its data were removed"


class Books(ABC):
    """The books of one flow."""

    flow: str | None = None  #: the id of a flow that flownb stored
    root: str  #: its root job's key
    first: dict[
        str, str
    ]  #: the record as it was when the books were opened; empty when there is no such flow
    shape: Shape

    @abstractmethod
    def record(self) -> dict[str, str]:
        """Return name, root, created (ms), and ended, finished, cause where it has come to that.

        Empty when the flow is not on the server. What other programs left unwritten is written first.
        """

    @abstractmethod
    def as_stored(self) -> dict[str, str]:
        """Return the same, and write nothing."""

    @abstractmethod
    def end(self) -> tuple[str | None, str | None]:
        """Return how the flow ended (``completed``, ``failed`` or None), and the key of its first failure.

        Raises `JobMissing` for a flow that is gone: it will not end.
        """

    @abstractmethod
    def look(self) -> None:
        """See that `shape` holds every job that is there."""

    @abstractmethod
    def counts(self, patience: float | None = None) -> FlowCounts:
        """Count the jobs of the whole tree; where the tree must be walked, for at most `patience` seconds."""


class OwnBooks(Books):
    """Of a flow that flownb stored: its scripts write down every step, but for what other programs' workers do.

    Whoever looks makes up for those: a parent that a failed child dooms fails at once, further parents of a
    shared job are told how it ended, the flow's end is written down. On a read-only connection nobody does.
    """

    def __init__(self, store: Store, flow: str) -> None:
        self._store = store
        self.flow = self._flow = flow
        self.first = store.read_flow(flow)
        self.root = self.first.get("root", "")
        declared = Declared(store, self.root)
        self.shape = declared
        self._found = Found(store, self.root, flow)
        self._audit = Audit(store, flow, declared)
        self._coordinator = Coordinator(store, declared)
        self._over = False

    def record(self) -> dict[str, str]:
        if self._store.read_only:
            return self.as_stored()
        record = self._store.read_flow(self._flow)
        if record and "ended" not in record and self._catch_up():
            record = self._store.read_flow(self._flow)
        self._see("ended" in record)
        return record

    def as_stored(self) -> dict[str, str]:
        record = self._store.read_flow(self._flow)
        if record and "ended" not in record:
            record |= _end_of(self._store, self.root)
        self._see("ended" in record)
        return record

    def end(self) -> tuple[str | None, str | None]:
        ended, cause = self._store.read_flow_end(self._flow)
        if ended is None and self._catch_up():
            ended, cause = self._store.read_flow_end(self._flow)
        if ended is None and self._store.read_only:
            found = _end_of(self._store, self.root)
            ended, cause = found.get("ended"), found.get("cause", cause)
        self._see(ended is not None)
        return ended, cause

    def _catch_up(self) -> bool:
        """Write what other programs' workers left unwritten; say whether there was anything."""
        if self._store.read_only:
            return False
        if self._store.has_ended(self.root):
            self._store.write_flow_end(self.root)
            return True
        return self._coordinator.look()

    def _see(self, over: bool) -> None:
        """Once it is known that the flow has ended, counts from before are not good enough."""
        if over != self._over:
            self._over = over
            self._audit.look_again()

    def counts(self, patience: float | None = None) -> FlowCounts:
        counts = self._look(patience)
        if not self._audit.touched:
            return counts
        found = counting.count(self._store, self.shape)
        return replace(found, paused=counts.paused, counting=found.counting or not self._found.complete)

    def look(self) -> None:
        self._look(None)

    def _look(self, patience: float | None) -> FlowCounts:
        """Read the stored counts. If other programs had a job of the flow they may have added some as well: those
        stand in BullMQ's own keys alone.
        """
        counts = self._audit.counts()
        if self._audit.touched:
            self._found.look(patience)
            if self._found.complete:
                self.shape = self._found
        return counts


class FoundBooks(Books):
    """Of a flow that another program stored, or flownb as that would: only BullMQ's own keys tell."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self.root = root
        self.shape = Found(store, root)
        self.first = self.record()

    def record(self) -> dict[str, str]:
        root = self._store.read_jobs([self.root], ("name", "timestamp"))[0]
        if root is None:
            return {}
        record = {"name": root.name, "root": self.root, "created": str(root.timestamp), "stored": "1"}
        return record | _end_of(self._store, self.root)

    def as_stored(self) -> dict[str, str]:
        return self.record()

    def end(self) -> tuple[str | None, str | None]:
        record = self.record()
        if not record:
            raise JobMissing(_GONE)
        return record.get("ended"), record.get("cause")

    def look(self) -> None:
        self.shape.look()

    def counts(self, patience: float | None = None) -> FlowCounts:
        self.shape.look(patience)
        return counting.count(self._store, self.shape)


def _end_of(store: Store, root: str) -> dict[str, str]:
    """Return ended, finished and cause as far as the root's own keys tell them."""
    job = store.read_jobs([root], ("finishedOn",))[0]
    if job is None:
        return {}
    found: dict[str, str] = {}
    if job.state in (COMPLETED, FAILED):
        found = {"ended": job.state, "finished": str(job.finished_on or 0)}
    if job.state != COMPLETED:
        cause = store.read_first_failure(root)
        if cause != root or job.state == FAILED:
            found["cause"] = cause
    return found
