"""One stored flow: its store, its record, its state, and snapshots of it.

A handle is made from one and gives it to views and batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flownb.errors import JobMissing, job_missing
from flownb.state.ahead import LookAhead
from flownb.state.eta import Estimate, estimate
from flownb.state.flow_state import FlowState, FoundFlowState, OwnFlowState, state_of
from flownb.state.removed_jobs import read_removed
from flownb.state.snapshot import read_snapshot
from flownb.wire import keys
from flownb.wire.amounts import expected
from flownb.wire.pauses import amounts_in_words, forecast_in_words
from flownb.wire.records import ACTIVE, FlowCounts, JobLine, JobRecord, Lane, Snapshot
from flownb.wire.store import Store
from flownb.wire.store.job_records import TIMELINE_FIELDS

COUNT_PATIENCE_SECONDS = 1.0  # for which a picture waits while the tree of another program's flow is walked


@dataclass(frozen=True, eq=False)
class StoredFlow:
    """One stored flow, whoever stored it."""

    store: Store
    flow_state: FlowState
    record: Mapping[str, str]  #: name, root and more, as they were when the flow was opened
    _ahead: LookAhead = dataclasses.field(default_factory=LookAhead, init=False, repr=False)

    @classmethod
    def own(cls, store: Store, flow: str) -> StoredFlow:
        """Open the flow that flownb stored under this id; raise `JobMissing` if there is none."""
        flow_state = OwnFlowState(store, flow)
        if not flow_state.first_record:
            raise JobMissing(f"no flow {flow} on this server; it was removed, or never stored here")
        return cls(store, flow_state, flow_state.first_record)

    @classmethod
    def just_stored(cls, store: Store, flow: str, record: dict[str, str]) -> StoredFlow:
        """Open the flow that the caller has stored with this record, without reading it."""
        return cls(store, OwnFlowState(store, flow, record), record)

    @classmethod
    def foreign(cls, store: Store, root: str, *, name: str | None = None) -> StoredFlow:
        """Open the flow below a root that another program stored; raise `JobMissing` if there is none.

        `name` is that of a root which was just added: it may have been run and removed already.
        """
        flow_state = FoundFlowState(store, root)
        record = flow_state.first_record
        if not record and name is not None:
            record = {"name": name, "root": root, "created": "0"}
        if not record:
            raise job_missing(keys.short(root, store.prefix))
        return cls(store, flow_state, record)

    @property
    def id(self) -> str:
        """The id of a flow that flownb stored, else its root's."""
        return self.flow_state.flow or keys.id_of(self.root)

    @property
    def name(self) -> str:
        return self.record["name"]

    @property
    def row_queue(self) -> str | None:
        """The queue whose jobs are rows, or hold them; None in a flow that is no batch."""
        return None

    @property
    def root(self) -> str:
        """The key of the root job."""
        return self.record["root"]

    def record_now(self) -> dict[str, str]:
        """Return the record as it is now; raise `JobMissing` once the flow is gone."""
        record = self.flow_state.record()
        if not record:
            raise JobMissing(f"flow {self.name!r} is not on this server any more; its data were removed")
        return record

    def spent(self) -> dict[str, int]:
        """Return what its jobs have spent; of a batch that of all runs of its name together."""
        flow = self.flow_state.flow
        return {} if flow is None else self.store.accounts.read(self.record.get("account", flow))

    def estimate(self, counts: FlowCounts) -> Estimate:
        """Return how long it still takes, and how fast its stages go, by the times at which its jobs have ended."""
        since = int(self.record_now()["created"])
        bases = [keys.base(self.store.prefix, counts.queues_of(stage)[-1]) for stage in counts.by_stage]
        paces = dict(zip(counts.by_stage, self.store.throughput.read(bases, since), strict=True))
        for queue, rows in counts.rows_a_job.items():
            paces[queue] = paces[queue].of_rows(rows)
        return estimate(counts, paces)

    def name_of(self, record: JobRecord) -> str:
        """What lists and pictures call one of the flow's jobs."""
        return record.name

    def lanes(self, counts: FlowCounts) -> Mapping[str, Lane]:
        """Return what timelines call the jobs of a queue, where that is not the queue and its jobs."""
        return {}

    def snapshot(
        self,
        *,
        nodes: bool = True,
        failures: bool = False,
        opened: Mapping[str, Sequence[str]] | None = None,
    ) -> Snapshot:
        """Return what a view shows: state and counts; with `nodes` the tree, with `failures` a sample of them.

        `opened` are jobs to draw one by one, by the group they would be folded into.
        """
        record = self.record_now()
        counts = self.flow_state.counts(COUNT_PATIENCE_SECONDS)
        if nodes:
            shape = self.flow_state.shape
            found = read_snapshot(
                self.store,
                shape,
                record,
                counts,
                failures=failures,
                opened=opened,
                row_queue=self.row_queue,
            )
            return dataclasses.replace(found, note=self._note(record, counts))
        root = self.store.jobs.read([record["root"]], ("name",))[0]
        return Snapshot(
            name=record["name"],
            state=state_of(record, root),
            nodes=(),
            counts=counts,
            created=int(record["created"]),
            finished=int(record["finished"]) if "finished" in record else None,
            now=self.store.server.read_time(),
            note=self._note(record, counts),
        )

    def _note(self, record: Mapping[str, str], counts: FlowCounts) -> str:
        """What else is to be known of the flow: what it waits behind, and what its record says."""
        waits = "ended" not in record and not counts.paused and not counts.count(ACTIVE)
        ahead = self._ahead.words(self.store, self.flow_state.flow, counts) if waits else ""
        return "; ".join(filter(None, [self.spent_in_words(counts), ahead, self.note_of(record)]))

    def spent_in_words(self, counts: FlowCounts) -> str:
        """Return what was spent, of which budget, and of a batch that has not ended what it will come to; if any."""
        spent = self.spent()
        if not spent:
            return ""
        in_all = expected(spent, counts.by_stage.get(self.row_queue or "", {}))
        forecast = f", about {forecast_in_words(in_all)} in all" if in_all else ""
        return f"{amounts_in_words(spent, self.budget())} spent{forecast}"

    def budget(self) -> dict[str, int]:
        """Return what a batch may spend, by unit; nothing where nobody has set it."""
        return {}

    def note_of(self, record: Mapping[str, str]) -> str:
        """Return what else is to be known of a flow, by its record, in words; mostly nothing."""
        return ""

    def records(self) -> Sequence[JobRecord]:
        """Read every job of the flow, as timelines need them."""
        self.flow_state.explore()
        jobs = list(self.flow_state.shape.jobs())
        return [record for record in self.store.jobs.read(jobs, TIMELINE_FIELDS) if record]

    def drawn_records(self) -> Sequence[JobRecord]:
        """Read every job of the flow, as its timeline shows them."""
        return self.records()

    def lines(self) -> Sequence[JobLine]:
        """Read what a table shows of every job of the flow, those included that are gone and still counted."""
        self.flow_state.explore()
        jobs = list(self.flow_state.shape.jobs())
        found = dict(zip(jobs, self.store.jobs.read_lines(jobs), strict=True))
        if None in found.values():
            found |= read_removed(self.store, self.flow_state, found)
        return [line for line in found.values() if line]


class StoredJob(NamedTuple):
    """One stored job: its record as it was read, and where it is stored."""

    store: Store
    record: JobRecord
