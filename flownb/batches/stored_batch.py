"""A stored batch as its handle and the views read it: its rows, and the labels that rows and groups are shown by."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flownb.batches import frames
from flownb.batches.code_of_rows import mixed_versions
from flownb.batches.frame_kinds import PANDAS
from flownb.batches.labels import index_from_json
from flownb.batches.row_ids import id_above
from flownb.batches.row_steps import names_in, row_queues, step_of, steps_by_queue
from flownb.batches.step_nodes import joined, with_stages
from flownb.batches.stored_rows import StoredRows
from flownb.state.flow_state import rows_to_come
from flownb.state.stored_flow import StoredFlow
from flownb.wire import codec, keys
from flownb.wire.pauses import BUDGET
from flownb.wire.records import (
    ALL_ENDED,
    COMPLETED,
    FAILED,
    MOST_FAILURES,
    FlowCounts,
    JobRecord,
    Lane,
    Node,
    Snapshot,
)
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS

MOST_ROWS_READ = 100_000  # by a view, to count them
FEW_JOBS = 40  # that are looked at one by one for a timeline, where so many have lanes of their own


@dataclass(frozen=True)
class Source:
    """The rows as the caller had them: what `table` shows beside the results."""

    frame: pd.DataFrame  #: without the columns of ``key=``, which are its index
    kind: str = PANDAS
    native: Any = None  #: the caller's own frame, of another library


class StoredBatch(StoredFlow):
    """A stored flow that was made from rows. Other kernels' rows may still be coming."""

    def __init__(self, flow: StoredFlow, source: Source | None = None) -> None:
        super().__init__(flow.store, flow.flow_state, flow.record)
        self.spec = frames.spec_of(flow.record)
        self.source = source
        self._is_whole = "stored" in flow.record
        #: what reading its rows has raised, of one that is not whole; see `is_whole`
        self.cut = flow.record.get("cut")
        self._rows: StoredRows | None = None
        self._ends: dict[str, Any] = {}  # see `_row_states`; views of one kernel read it in one thread
        self._groups: dict[str, tuple[Any, ...]] | None = None
        self._drawn_rows: dict[str, tuple[int | None, str, str, str | None]] = {}  # see `_of_rows`, by key

    @classmethod
    def own_batch(cls, store: Store, flow: str) -> StoredBatch:
        """Open the batch that is stored under this id."""
        return cls(StoredFlow.own(store, flow))

    # ---- rows ---------------------------------------------------------------------------------------

    def is_whole(self) -> bool:
        """Have all rows come? Those of another kernel's iterator come while the first ones run."""
        if not self._is_whole:
            record = self.record_now()
            self.spec = frames.spec_of(record)
            self._is_whole, self.cut = "stored" in record, record.get("cut")
        return self._is_whole

    @property
    def rows(self) -> StoredRows:
        """The rows on the server; where they are is read once all have come."""
        if self._rows is not None:
            return self._rows
        is_whole = self.is_whole()
        found = StoredRows.below(self.store, self.root, self.spec)
        if self.spec["rows"] and not len(found):
            self.store.flows.read_end(self.id)  # raises JobMissing when the batch was removed
        if is_whole:
            self._rows = found
        return found

    @property
    def index(self) -> pd.Index[Any]:
        return self.index_of(self.rows)

    def index_of(self, rows: StoredRows) -> pd.Index[Any]:
        """Return the labels of rows that were read just now: further ones may have come meanwhile."""
        return rows.index if self.source is None else self.source_frame(self.source).index

    def source_frame(self, source: Source) -> pd.DataFrame:
        """The caller's rows, without those that went with a job above them."""
        frame = source.frame
        return frame if len(self.rows) == len(frame) else frame.iloc[self.rows.numbers]

    def count_gone(self) -> int:
        """Return how many rows went with a job above them that was removed."""
        return self.spec["rows"] - len(self.rows) if self.is_whole() else 0

    @property
    def kind(self) -> str:
        """The kind of frame that its rows came in."""
        return str(self.spec["frame"]) if self.source is None else self.source.kind

    @property
    def steps(self) -> list[str]:
        """The names of the rows' steps; none where their task is one."""
        return names_in(self.spec)

    @property
    def row_queue(self) -> str:
        return str(self.spec["queue"])

    @property
    def row_queues(self) -> list[str]:
        """The queues in which rows have jobs: more than one where steps have jobs of their own."""
        return row_queues(self.spec)

    @property
    def has_plain_root(self) -> bool:
        """Is the root nothing but the end of what is below it?"""
        return keys.queue_of(self.root) == keys.BATCH_QUEUE

    def row_states(self) -> Mapping[str, int]:
        """Return how many rows are in which state, by the flow's counts."""
        return self.flow_state.counts().by_stage.get(self.row_queue, {})

    def count_ended(self) -> int:
        """Return how many rows have completed or failed."""
        states = self.row_states()
        return states.get(COMPLETED, 0) + states.get(FAILED, 0)

    def group_labels(self) -> dict[str, tuple[Any, ...]]:
        """What each job right above the rows has in the columns of `by`, by its key. Does not change, is read once."""
        if self._groups is None:
            by = self.spec["by"]
            records = self.store.jobs.read(self.group_keys() if by else [], ("data",))
            found = ((record.key, codec.decode(record.data)) for record in records if record)
            self._groups = {key: tuple(data.get(name) for name in by) for key, data in found}
        return self._groups

    def group_keys(self) -> list[str]:
        """The keys of the aggregates right above the rows, one a group, in the order of `group_index`."""
        base = keys.base(self.store.prefix, self.spec["stage_queues"][0])
        ids = (id_above(self.id, 0, n) for n in range(len(self.group_index)))
        return keys.jobs_in(base, ids)

    @property
    def group_index(self) -> pd.Index[Any]:
        """The labels of groups, with the dtypes of the columns of `by`."""
        groups = json.loads(self.record["groups"])
        return index_from_json(groups["index"], groups["labels"])

    # ---- as views show it ---------------------------------------------------------------------------

    def name_of(self, record: JobRecord) -> str:
        """The label of a row, or of a group, stands behind the name that all of them have."""
        if not self._is_whole:
            return record.name
        if record.queue in self.row_queues:
            name = joined(self.steps) or record.name
            return _with_labels(name, self.index, self.rows.positions_in(record.key))
        return " ".join([record.name, *map(str, self.group_labels().get(record.key, ()))])

    def budget(self) -> dict[str, int]:
        """What it may spend, by unit."""
        brakes = self.store.flows.read_brakes(self.id)
        named = ((name.partition(":"), parts) for name, parts in brakes.items())
        return {unit: int(parts) for (brake, _, unit), parts in named if brake == BUDGET}

    def note_of(self, record: Mapping[str, str]) -> str:
        """Say that not all rows have come, and that rows ran by several versions of their function."""
        mixed = mixed_versions(record, frames.spec_of(record))
        return "; ".join(filter(None, [rows_to_come(record), mixed]))

    def lanes(self, counts: FlowCounts) -> Mapping[str, Lane]:
        """The steps of the rows, where each row is a job."""
        are_jobs = counts.rows_a_job.get(self.row_queue, 1.0) == 1
        noun = "row" if are_jobs and self.row_queue not in self.spec["stage_queues"] else "job"
        return {queue: Lane(joined(steps), noun) for queue, steps in steps_by_queue(self.spec).items()}

    def drawn_records(self) -> list[JobRecord]:
        """Its jobs but for a root that only ends the rows; of a few, which have a lane each, as their rows are."""
        read = self.records()
        records = [record for record in read if record.key != self.root or not self.has_plain_root]
        if len(records) > FEW_JOBS or not records:
            return records
        found = ((record, *self._as_its_rows(record)) for record in records)
        return [
            dataclasses.replace(job, name=": ".join(filter(None, [self.name_of(record), words])))
            for record, job, words in found
        ]

    def snapshot(self, *, failures: bool = False, **parts: Any) -> Snapshot:
        """As of any flow; rows and groups have their labels, and failed rows inside a job of many stand among them."""
        self.is_whole()
        snapshot = super().snapshot(failures=failures, **parts)
        counts = self._counts_shown(snapshot.counts)
        snapshot = dataclasses.replace(snapshot, counts=counts, single_rows=self._single_rows(counts))
        nodes = [self._named(node) for node in snapshot.nodes]
        nodes = [self._of_rows(node) for node in self._with_ends(nodes, snapshot)]
        if by_step := snapshot.counts.by_step.get(self.row_queue):
            nodes = list(with_stages(nodes, self.row_queue, by_step))
        snapshot = dataclasses.replace(snapshot, nodes=tuple(nodes))
        if not snapshot.counts.count(FAILED) or not failures:
            return snapshot
        return dataclasses.replace(snapshot, failures=tuple(self._labelled_failures(snapshot)))

    def _named(self, node: Node) -> Node:
        name = self.name_of(node.job) if node.job else node.name
        queue = self.name if node.queue == keys.BATCH_QUEUE else node.queue  # which is none of the user's
        return dataclasses.replace(node, name=name, queue=queue)

    def _counts_shown(self, counts: FlowCounts) -> FlowCounts:
        """The counts, without a root that is nothing but the end of the rows: a reader counts rows."""
        stages = dict(counts.by_stage)
        if self.has_plain_root and len(stages) > 1:
            stages.pop(keys.BATCH_QUEUE, None)
        return dataclasses.replace(counts, by_stage=stages)

    def _single_rows(self, counts: FlowCounts) -> int:
        """How many of the jobs that are counted are rows, where a queue has nothing else and they share none."""
        if self.row_queue in counts.rows_a_job or self.row_queue in self.spec["stage_queues"]:
            return 0
        return sum(counts.by_stage.get(self.row_queue, {}).values())

    def _with_ends(self, nodes: list[Node], snapshot: Snapshot) -> list[Node]:
        """The nodes; once the batch has ended, those of rows in jobs of many with how many completed and failed."""
        if snapshot.finished is None or snapshot.counts.rows > MOST_ROWS_READ:
            return nodes
        above = {child: node.key for node in nodes for child in node.children}
        return [
            dataclasses.replace(node, states=self._row_states(above[node.id], snapshot.finished), words="")
            if node.words == ALL_ENDED
            else node
            for node in nodes
        ]

    def _of_rows(self, node: Node) -> Node:
        """The node; of a job that has ended as its rows have: they may have failed in it, or be at a later step."""
        if node.job is None:
            return node
        job, words = self._as_its_rows(node.job)
        if job.state is None or job.state == node.job.state:
            return node
        return dataclasses.replace(node, states={job.state: 1}, words=words, job=job)

    def _as_its_rows(self, job: JobRecord) -> tuple[JobRecord, str]:
        """A job as its rows are, and of many in words; of a job that has not ended, or is above the rows, as it is."""
        if job.state != COMPLETED or job.queue not in self.row_queues or self._are_jobs:
            return job, ""
        known = self._drawn_rows.get(job.key)
        if known is None or known[0] != job.finished_on:
            known = (job.finished_on, *self._read_end(job.key))
        _, state, words, error = known
        if state in (COMPLETED, FAILED):
            self._drawn_rows[job.key] = known
        return dataclasses.replace(job, state=state, failed_reason=error), words

    def _read_end(self, key: str) -> tuple[str, str, str | None]:
        """The state of the rows of a job that has ended, of failed ones first; in words, if they differ; an error."""
        rows = self.rows.read(self.rows.positions_in(key))
        others = [row for row in rows if row.state != COMPLETED]
        if not others:
            return COMPLETED, "", None
        first = next((row for row in others if row.state == FAILED), others[0])
        count = sum(row.state == first.state for row in others)
        return (
            first.state,
            f"{count:,} of {len(rows):,} rows {first.state}" if len(rows) > 1 else "",
            first.error,
        )

    @property
    def _are_jobs(self) -> bool:
        """Is each row a job of its own, which ends as the row does?"""
        return self.spec.get("rows_per_job") == 1 and not self.steps

    def _row_states(self, parent: str, finished: int) -> dict[str, int]:
        """How many rows below an aggregate are in which state, since the batch has ended: read once."""
        if self._ends.get("finished") != finished:
            self._ends = {"finished": finished}
        if parent not in self._ends:
            rows = StoredRows.below(self.store, parent, self.spec)
            self._ends[parent] = dict(Counter(row.state for row in rows.read(rows.runs)))
        return dict(self._ends[parent])

    def _labelled_failures(self, snapshot: Snapshot) -> list[JobRecord]:
        """The snapshot's failed jobs under their rows' labels, and failed rows of many-row jobs as far as they fit."""
        rows, index = self.rows, self.index
        found = [_labelled(record, index, rows.positions.get(record.key)) for record in snapshot.failures]
        if self._are_jobs:
            return found
        known = {record.key for record in found}
        more = (record for record in self._failed_rows(rows, index) if record.key not in known)
        wanted = min(snapshot.counts.count(FAILED), MOST_FAILURES)
        return found + list(itertools.islice(more, max(wanted - len(known), 0)))

    def _failed_rows(self, rows: StoredRows, index: pd.Index[Any]) -> Iterator[JobRecord]:
        """Each failed row as if it were a job of its own."""
        for start in range(0, len(rows.runs), CHUNK_JOBS):
            positions = rows.runs[start : start + CHUNK_JOBS]
            for position, ((key, _), row) in zip(
                positions, rows.read_located(positions, traces=True), strict=True
            ):
                if row.state == FAILED:
                    name = step_of(row, self.steps) if self.steps else self.spec["task"]
                    job = JobRecord(
                        key=key,
                        id=keys.id_of(key),
                        queue=name if self.steps else self.spec["queue"],  # as the step's box has it
                        name=name,
                        state=FAILED,
                        failed_reason=row.error,
                        stacktrace=codec.encode([row.traceback] if row.traceback else [], "traceback"),
                        attempts_made=row.attempts or 0,
                    )
                    yield _labelled(job, index, position)


def _with_label(name: str, index: pd.Index[Any], position: int | None) -> str:
    return name if position is None or position >= len(index) else f"{name} {index[position]}"


def _with_labels(name: str, index: pd.Index[Any], positions: list[int]) -> str:
    """The name of a job and which rows it holds: the first and the last of many."""
    ends = [str(index[at]) for at in (positions[:1] + positions[1:][-1:]) if at < len(index)]
    return " ".join([name, " … ".join(ends)]) if ends else name


def _labelled(record: JobRecord, index: pd.Index[Any], position: int | None) -> JobRecord:
    return dataclasses.replace(record, name=_with_label(record.name, index, position))
