"""Reading a stored flow as a tree: every job of it, or a snapshot as small as a picture needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from flownb.state.shape import REMOVED, Shape
from flownb.wire import keys
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    FAILED,
    MOST_FAILURES,
    MOST_NODES,
    NO_CAUSE,
    WAITING,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)
from flownb.wire.store import Store
from flownb.wire.store.job_records import ALL_FIELDS, BRIEF_FIELDS


def levels_below(store: Store, tops: Sequence[str]) -> Iterator[list[str]]:
    """Yield the keys of all jobs below these, level by level, each once."""
    parents, seen = list(tops), set(tops)
    while parents:
        level: list[str] = []
        below: list[str] = []
        for parent, groups in zip(parents, store.declared.read_groups(parents), strict=True):
            if groups is None:
                continue
            fresh = [key for piece in store.declared.read(parent) for key in piece.keys if key not in seen]
            seen.update(fresh)
            level += fresh
            if not all(group["leaf"] for group in groups):
                below += fresh
        yield level
        parents = below


def jobs(store: Store, shape: Shape, fields: Sequence[str] = BRIEF_FIELDS) -> list[JobRecord]:
    """Read every job of a flow."""
    return [record for record in store.jobs.read(list(shape.jobs()), fields) if record]


def snapshot(
    store: Store,
    shape: Shape,
    record: Mapping[str, str],
    counts: FlowCounts,
    *,
    failures: bool = False,
    opened: Mapping[str, Sequence[str]] | None = None,
) -> Snapshot:
    """Read a flow as a picture needs it: like siblings folded into one counted node, at most 60 nodes.

    `opened` says of folded nodes, by the key of their first job, which jobs stand for themselves.
    """
    reader = _Reader(store, shape, counts, opened or {})
    nodes = reader.read()
    drawn = sum(node.count for node in nodes if node.queue not in reader.parted)
    drawn += sum(sum(counts.by_stage[queue].values()) for queue in reader.parted)
    return Snapshot(
        name=record["name"],
        state=state_of(record, nodes[0].job),
        nodes=nodes,
        counts=counts,
        created=int(record["created"]),
        finished=int(record["finished"]) if "finished" in record else None,
        now=store.server.read_time(),
        oldest=_oldest(store, shape, counts),
        left_out=max(counts.total - drawn, 0),
        failures=tuple(read_failures(store, shape, counts.count(FAILED))) if failures else (),
    )


def _oldest(store: Store, shape: Shape, counts: FlowCounts) -> int | None:
    """When the job that runs longest was started."""
    running = [queue for queue, states in counts.by_stage.items() if states.get(ACTIVE)]
    if not running:
        return None
    parents = {parent for parent, _ in shape.branches()}
    bases = [keys.base(store.prefix, queue) for queue in running]
    return store.queue_facts.read_oldest_start(
        bases, lambda job, parent: job == shape.root or parent in parents
    )


def state_of(record: Mapping[str, str], root: JobRecord | None) -> str:
    """Return a flow's state: how it ended, ``failing`` while a failure climbs, else its root's."""
    if "ended" in record:
        return record["ended"]
    if "cause" in record:
        return "failing"
    return (root.state if root else None) or WAITING


class _Reader:
    """Walks down from the root, level by level, reading jobs that are drawn and summaries of those that are not."""

    def __init__(
        self, store: Store, shape: Shape, counts: FlowCounts, opened: Mapping[str, Sequence[str]]
    ) -> None:
        self.store = store
        self.shape = shape
        self.counts = counts
        self.opened = opened
        self.nodes: list[dict[str, Any]] = []
        self.places: dict[str, int] = {}
        self.parted: set[str] = set()  # queues of which rows are counted and jobs are drawn

    def read(self) -> tuple[Node, ...]:
        level = [self._single(self.shape.root, optional=False)]
        while level:
            below: list[int] = []
            keys_ = [self.nodes[i]["key"] for i in level]
            families = self.store.children.counts(keys_)
            for i, groups, family in zip(level, self.shape.groups(keys_), families, strict=True):
                for group in groups or ():
                    below += self._adopt(i, group, family, alone=len(groups or ()) == 1)
            level = below
        singles = [i for i, node in enumerate(self.nodes) if node["count"] == 1 and not node.get("apart")]
        records = self.store.jobs.read([self.nodes[i]["key"] for i in singles], BRIEF_FIELDS)
        for i, record in zip(singles, records, strict=True):
            self._fill(self.nodes[i], record)
        self._fill_those_gone()
        self._part_stages()
        for node in self.nodes:
            for i in node.get("apart", ()):
                state = next(iter(self.nodes[i]["states"]))
                node["states"] = {s: n - (s == state) for s, n in node["states"].items() if n > (s == state)}
        return tuple(
            Node(
                id=f"n{i}",
                name=node["name"],
                queue=node["queue"],
                states=node["states"],
                count=node["count"],
                job=node.get("job"),
                optional=node["optional"],
                children=tuple(f"n{child}" for child in node["children"]),
                key=node["key"],
            )
            for i, node in enumerate(self.nodes)
        )

    def _adopt(
        self, parent: int, group: dict[str, Any], family: tuple[int, int, int, int], alone: bool
    ) -> list[int]:
        """Hang a group of children under a node; return the nodes to look below."""
        known = [self.places[key] for key in group["first"] if key in self.places]
        self.nodes[parent]["children"] += [i for i in known if i not in self.nodes[parent]["children"]]
        if known or len(self.nodes) >= MOST_NODES:
            return []
        folded_above = self.nodes[parent]["count"] > 1
        if group["count"] == 1 and not folded_above:
            children = [self._single(group["first"][0], group["optional"])]
        else:
            apart = () if folded_above else self.opened.get(group["first"][0], ())
            children = [self._single(key, group["optional"]) for key in apart if key not in self.places]
            if group["count"] > len(children):
                rest = self._folded(group, None if folded_above or not alone else family)
                self.nodes[rest]["count"] -= len(children)
                self.nodes[rest]["apart"] = children
                self.nodes[parent]["children"] += [*children, rest]
                return [] if group["leaf"] else children or [rest]
        self.nodes[parent]["children"] += children
        return [] if group["leaf"] else children

    def _single(self, key: str, optional: bool) -> int:
        self.places[key] = len(self.nodes)
        _, queue, id = keys.split(key)
        self.nodes.append(
            {
                "key": key,
                "queue": queue,
                "name": id,
                "states": {},
                "count": 1,
                "optional": optional,
                "children": [],
            }
        )
        return self.places[key]

    def _folded(self, group: dict[str, Any], family: tuple[int, int, int, int] | None) -> int:
        """One node for many siblings. Below another folded node it stands for its whole queue in this flow."""
        queue = keys.queue_of_base(group["base"])
        stage = {state: n for state, n in self.counts.by_stage.get(queue, {}).items() if n}
        count = group["count"]
        jobs: dict[str, int] = {}
        if family is not None:
            pending, completed, ignored, failed = family
            jobs = {WAITING: pending, COMPLETED: completed, FAILED: ignored + failed}
            jobs = {state: n for state, n in jobs.items() if n}
        states = jobs
        if family is None or queue in self.counts.rows_a_job or sum(stage.values()) == count:
            states, count = stage, sum(stage.values()) or count
        key = group["first"][0]
        place = len(self.nodes)
        self.places.setdefault(key, place)
        self.nodes.append(
            {
                "key": key,
                "queue": queue,
                "name": group["name"],
                "states": states,
                "count": count,
                "optional": group["optional"],
                "children": [],
            }
        )
        if jobs:
            self.nodes[place]["jobs"] = jobs
        return place

    def _part_stages(self) -> None:
        """Rows are counted a queue: where several nodes share one, each shows its own jobs, not all the rows."""
        for queue in self.counts.rows_a_job:
            nodes = [node for node in self.nodes if node["queue"] == queue]
            groups = [node for node in nodes if "jobs" in node]
            if len(nodes) == len(groups) == 1 or any(n["count"] > 1 and "jobs" not in n for n in nodes):
                continue
            self.parted.add(queue)
            for node in groups:
                node["states"] = node["jobs"]
                node["count"] = sum(node["jobs"].values()) - len(node.get("apart", ()))

    def _fill_those_gone(self) -> None:
        """Jobs that were removed as they ended: their parent has kept how."""
        self.nodes[0]["states"] = self.nodes[0]["states"] or {FAILED: 1}
        for parent in self.nodes:
            children = [self.nodes[i] for i in parent["children"]]
            gone = [node for node in children if node["count"] == 1 and not node["states"]]
            kept = self.store.children.read_ends(parent["key"], [node["key"] for node in gone])
            for node, state in zip(gone, kept, strict=True):
                node["name"], node["states"] = REMOVED, {state or FAILED: 1}

    def _fill(self, node: dict[str, Any], record: JobRecord | None) -> None:
        if record is None:
            return
        node["job"], node["name"] = record, record.name
        node["states"] = {record.state or WAITING: 1}


def read_failures(store: Store, shape: Shape, failed: int, most: int = MOST_FAILURES) -> list[JobRecord]:
    """Read the failed jobs of a flow, of which there are `failed`: those that failed by themselves, oldest first.

    At most `most` of them.
    """
    if not failed:
        return []
    found = list(islice(failed_keys(store, shape), min(failed, 2 * most)))
    records = [r for r in store.jobs.read(found, ALL_FIELDS) if r and r.why not in NO_CAUSE]
    return sorted(records, key=lambda r: r.finished_on or 0)[:most]


def failed_keys(store: Store, shape: Shape) -> Iterator[str]:
    """Yield the keys of a flow's failed jobs: the root, then what failed each parent, from the top down."""
    record = store.jobs.read([shape.root], BRIEF_FIELDS)[0]
    if record and record.state == FAILED:
        yield shape.root
    seen = {shape.root}
    for parent, _ in shape.branches():
        failed = [*store.children.read_failed(parent), *store.children.read_ignored(parent)]
        fresh = [key for key in failed if key not in seen]
        seen.update(fresh)
        yield from dict.fromkeys(fresh)
    yield from (key for key in _unforgiven(store, shape) if key not in seen)


def _unforgiven(store: Store, shape: Shape) -> list[str]:
    """Failed jobs without a policy: no parent keeps them, but each names its parent. The newest of each queue."""
    branches = dict(shape.branches())
    bases = dict.fromkeys(group["base"] for groups in branches.values() for group in groups)
    places = [
        keys.job_in(base, id)
        for base in bases
        for id in store.queues.read_ids(base, FAILED, 0, 10 * MOST_FAILURES)
    ]
    return [job.key for job in store.jobs.read(places, ("parentKey",)) if job and job.parent_key in branches]


def root_cause(store: Store, cause: str | None, root: str) -> tuple[JobRecord | None, list[str]]:
    """Return the job that failed the flow and the names on the way from the root down to it.

    One that was shared may have gone with another flow: then what is left of the failure tells.
    """
    record = store.jobs.read([cause or root])[0] or store.jobs.read([_first_failure(store, root)])[0]
    top = store.jobs.read([root], ("fl",))[0]
    names: list[str] = []
    step = record
    while step is not None and len(names) < 100:
        names.append(step.name)
        step = _parent_in_flow(store, step, top.flow if top else None) if step.key != root else None
    return record, names[::-1]


def _first_failure(store: Store, job: str) -> str:
    """Return the deepest job that is still known to have failed this one; itself when no child did."""
    for _ in range(100):
        failed = store.children.read_failed(job)
        if not failed:
            break
        job = failed[0]
    return job


def _parent_in_flow(store: Store, job: JobRecord, flow: str | None) -> JobRecord | None:
    """The parent through which a job belongs to this flow: of a shared job it need not be the first."""
    above = [
        *([job.parent_key] if job.parent_key else []),
        *store.shared.read_further_parents([job.key])[job.key],
    ]
    found = [parent for parent in store.jobs.read(above) if parent]
    return next((parent for parent in found if parent.flow == flow), found[0] if found else None)


def describe(reason: str | None) -> str:
    """Return a failed job's reason as one line."""
    return " ".join((reason or "no reason was stored").split())
