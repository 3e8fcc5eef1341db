"""Reads a flow as a picture needs it: like siblings folded into one counted node, at most 60 nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flownb.state.failed_jobs import read_failures
from flownb.state.flow_state import state_of
from flownb.state.shape import REMOVED_NAME, Group, Shape
from flownb.wire import keys
from flownb.wire.records import (
    ACTIVE,
    ALL_ENDED,
    COMPLETED,
    FAILED,
    MOST_NODES,
    REMOVED,
    WAITING,
    WAITING_CHILDREN,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)
from flownb.wire.store import Store
from flownb.wire.store.children import ChildrenCounts
from flownb.wire.store.job_records import BRIEF_FIELDS


def read_snapshot(
    store: Store,
    shape: Shape,
    record: Mapping[str, str],
    counts: FlowCounts,
    *,
    failures: bool = False,
    opened: Mapping[str, Sequence[str]] | None = None,
    row_queue: str | None = None,
) -> Snapshot:
    """Read a flow's nodes beside its counts.

    `opened` says of folded nodes, by the key of their first job, which jobs are drawn one by one; the jobs of
    `row_queue` are called rows.
    """
    reader = _NodeReader(store, shape, counts, opened or {}, row_queue)
    nodes = reader.read()
    drawn = sum(node.count for node in nodes if node.queue not in reader.shared_stages)
    drawn += sum(sum(counts.by_stage[queue].values()) for queue in reader.shared_stages)
    return Snapshot(
        name=record["name"],
        state=state_of(record, nodes[0].job),
        nodes=nodes,
        counts=counts,
        created=int(record["created"]),
        finished=int(record["finished"]) if "finished" in record else None,
        now=store.server.read_time(),
        oldest=read_oldest_start(store, shape, counts),
        left_out=max(counts.total - drawn, 0),
        failures=tuple(read_failures(store, shape, counts.count(FAILED))) if failures else (),
    )


def read_oldest_start(store: Store, shape: Shape, counts: FlowCounts) -> int | None:
    """When the job that runs longest was started (ms), where one is found."""
    stages = [stage for stage, states in counts.by_stage.items() if states.get(ACTIVE)]
    if not stages:
        return None
    running = [queue for stage in stages for queue in counts.queues_of(stage)]
    parents = {parent for parent, _ in shape.branches()}
    bases = [keys.base(store.prefix, queue) for queue in running]
    return store.queue_facts.read_oldest_start(
        bases, lambda job, parent: job == shape.root or parent in parents
    )


@dataclass(kw_only=True)
class _Draft:
    """A node of the picture, while it is read."""

    key: str  #: of the job, or of the first one that is folded
    queue: str
    name: str
    optional: bool
    count: int = 1  #: jobs, or their rows
    states: dict[str, int] = field(default_factory=dict)
    #: of a folded node: its jobs' states, as the parent counts them
    jobs: dict[str, int] = field(default_factory=dict)
    rows: int | None = None  #: of a folded node whose jobs hold many rows: all of them
    opened: list[int] = field(default_factory=list)  #: of a folded node: nodes drawn one by one instead
    children: list[int] = field(default_factory=list)
    record: JobRecord | None = None
    words: str = ""
    pending: int | None = None  #: children that have not ended, if they were looked for

    @property
    def is_single(self) -> bool:
        return self.count == 1 and not self.opened

    def as_node(self, position: int) -> Node:
        return Node(
            id=f"n{position}",
            name=self.name,
            queue=self.queue,
            states=self.states,
            count=self.count,
            job=self.record,
            optional=self.optional,
            children=tuple(f"n{child}" for child in self.children),
            key=self.key,
            words=self.words,
        )


class _NodeReader:
    """Walks down from the root, level by level, reading jobs that are drawn and summaries of those that are not."""

    def __init__(
        self,
        store: Store,
        shape: Shape,
        counts: FlowCounts,
        opened: Mapping[str, Sequence[str]],
        row_queue: str | None,
    ) -> None:
        self._store = store
        self._shape = shape
        self._counts = counts
        self._opened = opened
        self._row_queue = row_queue
        self._drafts: list[_Draft] = []
        self._position_of: dict[str, int] = {}  # job -> its node
        self._rest_of_queue: dict[str, int] = {}  # queue -> its node below folded nodes
        #: queues whose rows are counted together and drawn in several nodes
        self.shared_stages: set[str] = set()

    def read(self) -> tuple[Node, ...]:
        """Return the nodes, the root first."""
        level = [self._add_single(self._shape.root, optional=False)]
        while level:
            level = self._add_level_below(level)
        self._read_singles()
        self._read_removed()
        self._leave_out_what_is_drawn_above()
        self._part_rows_that_are_counted_together()
        self._say_what_is_waited_for()
        self._leave_out_opened()
        return tuple(draft.as_node(i) for i, draft in enumerate(self._drafts))

    # ---- which nodes there are -------------------------------------------------------------------------------

    def _add_level_below(self, level: Sequence[int]) -> list[int]:
        """Add the children of nodes; return the nodes to look below."""
        below: list[int] = []
        parents = [self._drafts[i].key for i in level]
        counts = self._store.children.counts(parents)
        for i, groups, count in zip(level, self._shape.groups(parents), counts, strict=True):
            self._drafts[i].pending = count.pending
            for group in groups or ():
                below += self._add_group(i, group, count if len(groups or ()) == 1 else None)
        return below

    def _add_group(self, parent: int, group: Group, counts: ChildrenCounts | None) -> list[int]:
        """Add a group of siblings below a node; return the nodes to look below. `counts` are the group's, if known."""
        draft = self._drafts[parent]
        known = [self._position_of[key] for key in group["first"] if key in self._position_of]
        draft.children += [i for i in known if i not in draft.children]
        if known or len(self._drafts) >= MOST_NODES:
            return []
        if draft.count > 1:
            added, below = self._add_below_folded(group)
        elif group["count"] == 1 and group.get("rows", 1) == 1:
            added = below = [self._add_single(group["first"][0], group["optional"])]
        else:
            added, below = self._add_folded_and_opened(group, counts)
        draft.children += [i for i in added if i not in draft.children]
        return [] if group["leaf"] else below

    def _add_below_folded(self, group: Group) -> tuple[list[int], list[int]]:
        """Add what a queue has below nodes whose children are not told apart, once; return it, and where to look on."""
        queue = keys.queue_of_base(group["base"])
        there = self._rest_of_queue.get(queue)
        if there is None:
            self._rest_of_queue[queue] = added = self._add_folded(group, None)
            return [added], [added]
        if self._drafts[there].name != group["name"]:
            self._drafts[there].name = queue
        return [there], []

    def _add_folded_and_opened(
        self, group: Group, counts: ChildrenCounts | None
    ) -> tuple[list[int], list[int]]:
        """Add siblings, those that are opened one by one; return the nodes, and those to look below."""
        wanted = self._opened.get(group["first"][0], ())
        opened = [self._add_single(key, group["optional"]) for key in wanted if key not in self._position_of]
        if group["count"] <= len(opened):
            return opened, opened
        rest = self._add_folded(group, counts)
        self._drafts[rest].count -= len(opened)
        self._drafts[rest].opened = opened
        return [*opened, rest], opened or [rest]

    def _add_single(self, key: str, optional: bool) -> int:
        _, queue, id = keys.split(key)
        self._position_of[key] = len(self._drafts)
        return self._add(_Draft(key=key, queue=queue, name=id, optional=optional))

    def _add_folded(self, group: Group, counts: ChildrenCounts | None) -> int:
        """Add one node for many siblings. Below another folded node it shows its whole queue in this flow."""
        queue = keys.queue_of_base(group["base"])
        stage = _without_zeros(self._counts.by_stage.get(queue, {}))
        jobs: dict[str, int] = {}
        if counts is not None:
            ended = {COMPLETED: counts.completed, FAILED: counts.ignored + counts.failed}
            jobs = _without_zeros({WAITING: counts.pending, **ended})
        states, count = jobs, group["count"]
        is_whole_stage = queue in self._counts.rows_a_job or sum(stage.values()) == count
        if counts is None or is_whole_stage:
            states, count = stage, sum(stage.values()) or count
        key = group["first"][0]
        self._position_of.setdefault(key, len(self._drafts))
        return self._add(
            _Draft(
                key=key,
                queue=queue,
                name=group["name"],
                optional=group["optional"],
                count=count,
                states=states,
                jobs=jobs,
                rows=None if counts is None else group.get("rows"),
            )
        )

    def _add(self, draft: _Draft) -> int:
        self._drafts.append(draft)
        return len(self._drafts) - 1

    # ---- what they show --------------------------------------------------------------------------------------

    def _read_singles(self) -> None:
        singles = [draft for draft in self._drafts if draft.is_single]
        records = self._store.jobs.read([draft.key for draft in singles], BRIEF_FIELDS)
        for draft, record in zip(singles, records, strict=True):
            if record is not None:
                draft.record, draft.name = record, record.name
                draft.states = {record.state or WAITING: 1}

    def _read_removed(self) -> None:
        """Show jobs that are gone as their parent has kept how they ended, if it has."""
        if not self._drafts[0].states:
            self._drafts[0].name, self._drafts[0].states = REMOVED_NAME, {REMOVED: 1}
        for parent in self._drafts:
            children = (self._drafts[i] for i in parent.children)
            removed = [child for child in children if child.count == 1 and not child.states]
            ends = self._store.children.read_ends(parent.key, [child.key for child in removed])
            for child, end in zip(removed, ends, strict=True):
                child.name, child.states = REMOVED_NAME, {end or REMOVED: 1}

    def _part_rows_that_are_counted_together(self) -> None:
        """Rows are counted a queue: where several nodes share one, say of each what follows for its own rows."""
        for queue, rows_a_job in self._counts.rows_a_job.items():
            drafts = [draft for draft in self._drafts if draft.queue == queue]
            if not _must_be_parted(drafts):
                continue
            self.shared_stages.add(queue)
            stage = _without_zeros(self._counts.by_stage[queue])
            for draft in drafts:
                if draft.rows is not None:
                    draft.count = draft.rows - round(rows_a_job * len(draft.opened))
                    draft.states, draft.words = _rows_of_a_part(draft.rows, draft.jobs, stage)

    def _say_what_is_waited_for(self) -> None:
        """Say of a single job for how many children it waits: for rows where they are, else for jobs."""
        for draft in self._drafts:
            if draft.is_single and WAITING_CHILDREN in draft.states:
                draft.words = self._waits_for(draft)

    def _waits_for(self, draft: _Draft) -> str:
        children = [self._drafts[i] for i in draft.children]
        are_rows = bool(children) and all(child.queue == self._row_queue for child in children)
        noun, count = "row" if are_rows else "job", draft.pending
        if are_rows and self._row_queue in self._counts.rows_a_job:
            ended = [child.states.get(COMPLETED, 0) + child.states.get(FAILED, 0) for child in children]
            is_known = all(child.jobs and not child.words for child in children)
            count = max(sum(child.count for child in children) - sum(ended), 0) if is_known else None
        return f"waiting for {count} {noun}{'' if count == 1 else 's'}" if count else f"waiting for {noun}s"

    def _leave_out_what_is_drawn_above(self) -> None:
        """Let a node of a whole queue count those jobs alone that no other node stands for."""
        for queue, i in self._rest_of_queue.items():
            rest = self._drafts[i]
            others = [draft for draft in self._drafts if draft.queue == queue and draft is not rest]
            if queue in self._counts.rows_a_job or not others:
                continue
            drawn: Counter[str] = sum((Counter(draft.states) for draft in others), Counter())
            rest.states = _without_zeros({s: max(n - drawn[s], 0) for s, n in rest.states.items()})
            rest.count = sum(rest.states.values())

    def _leave_out_opened(self) -> None:
        """Count in a folded node only those jobs that are not drawn one by one beside it."""
        for draft in self._drafts:
            for i in draft.opened:
                state = next(iter(self._drafts[i].states))
                # The counts were read before: another client may have moved jobs since.
                counts = draft.states.items()
                draft.states = _without_zeros({s: max(n - (s == state), 0) for s, n in counts})


def _must_be_parted(drafts: Sequence[_Draft]) -> bool:
    """Say of a queue's nodes whether all rows of the queue are too many for one, and each node's own are known."""
    has_all_rows = len(drafts) == 1 and bool(drafts[0].jobs)
    return not has_all_rows and all(draft.count == 1 or draft.rows is not None for draft in drafts)


def _rows_of_a_part(
    rows: int, jobs: Mapping[str, int], stage: Mapping[str, int]
) -> tuple[dict[str, int], str]:
    """Return the states of some of a stage's rows, from those of their jobs, and words where that is an estimate."""
    if len(stage) == 1:
        return dict.fromkeys(stage, rows), ""
    open_jobs = jobs.get(WAITING, 0)
    if not open_jobs and not stage.get(FAILED):
        return {COMPLETED: rows}, ""
    ended = round(rows * (1 - open_jobs / max(sum(jobs.values()), 1)))
    words = "partly done" if 0 < ended < rows else "not done yet" if open_jobs else ALL_ENDED
    runs = int(bool(stage.get(ACTIVE)) and 0 < ended < rows)  # how many of them do is not known
    return _without_zeros({COMPLETED: ended, ACTIVE: runs, WAITING: rows - ended - runs}), words


def _without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {state: n for state, n in counts.items() if n}
