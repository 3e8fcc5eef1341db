"""From a tree to a list of jobs: shared jobs found, cycles refused, everything checked. Pure; no server.

Every refusal names the node's path (``root/children[3]``) and comes before anything is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flownb.adding.node import Node, read
from flownb.errors import FlowError, OptionError
from flownb.options import JobOptions
from flownb.wire import codec, keys

_PLAIN = JobOptions.read(None, "opts")
_MOST_TOLD = 5  # shared jobs that are announced, and parents that are named of each


@dataclass(slots=True)
class PlannedJob:
    """A job of the plan; other jobs of the plan are named by their position in it."""

    name: str
    base: str  #: its queue's qualified name
    id: str  #: empty while the plan is made, if the caller gave none
    data: str
    options: JobOptions
    parents: dict[int, str]  #: position -> policy, the first parent first
    children: list[int]
    bind: str | None = None
    beside: tuple[tuple[str, str, bytes], ...] = ()  #: key, field, value: notes that are stored with the job

    @property
    def key(self) -> str:
        return keys.job_in(self.base, self.id)

    @property
    def size(self) -> int:
        """How much its call carries, about."""
        return len(self.data) + (sum(len(value) for _, _, value in self.beside) if self.beside else 0)


@dataclass(slots=True)
class Plan:
    """A checked flow: its jobs, parents before children, the root first."""

    flow: str
    prefix: str
    jobs: list[PlannedJob]
    shared: list[str] = field(default_factory=list)  #: announcements of jobs that have several parents
    #: of a batch: the rows that a parent's children stand for
    rows: dict[int, codec.PlannedRows] = field(default_factory=dict)
    notes: list[tuple[str, str, bytes]] = field(default_factory=list)  #: stored too: key, field, value
    grows: bool = False  #: the root is there already and runs: it gets children

    @property
    def root(self) -> PlannedJob:
        return self.jobs[0]

    def path(self, key: str) -> str:
        """Return where in the tree the job of this key stands, by its first parents: ``root/children[3]``."""
        place = next(i for i, job in enumerate(self.jobs) if job.key == key)
        steps: list[str] = []
        while self.jobs[place].parents:
            parent = next(iter(self.jobs[place].parents))
            steps.append(f"children[{self.jobs[parent].children.index(place)}]")
            place = parent
        return "/".join(["root", *reversed(steps)])


def plan(
    tree: Any,
    *,
    prefix: str,
    flow: str | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    share: bool = True,
) -> Plan:
    """Check a tree and lay it out; `defaults` are options by queue, under each node's own.

    A job is shared when the same object stands under several parents, when two nodes have the same queue
    and ``jobId``, or when a node is mentioned again, bare, elsewhere: same name, queue and data, no children.
    Without `share` each mention is a job of its own, as in BullMQ, and policies are BullMQ's.
    """
    planner = _Planner(prefix, flow or keys.new_id(), defaults or {}, share)
    planner.walk(tree)
    if share:
        planner.merge_mentions()
    return planner.finish()


class _Planner:
    def __init__(
        self, prefix: str, flow: str, defaults: Mapping[str, Mapping[str, Any]], share: bool
    ) -> None:
        self.prefix = prefix
        self.flow = flow
        self.defaults = defaults
        self.share = share
        self.jobs: list[PlannedJob] = []
        self.nodes: list[Node] = []
        self.first: list[
            tuple[int, int]
        ] = []  # where each job was first mentioned: its parent, its place under it
        self.mentions: list[Any] = []  # keeps every object alive, so that its id() stays its own
        self.by_object: dict[int, int] = {}
        self.by_id: dict[tuple[str, str], int] = {}
        self.options: dict[Any, JobOptions] = {}
        self.bases: dict[Any, str] = {}
        self.merged: set[int] = set()
        self.have_children: set[int] = set()  # also those whose children have not been walked yet
        self.shared: dict[int, None] = {}

    # ---- walking ------------------------------------------------------------------------------------

    def walk(self, tree: Any) -> None:
        pending: deque[tuple[Any, int, int]] = deque([(tree, -1, 0)])
        while pending:
            mention, parent, place = pending.popleft()
            if id(mention) in self.by_object:
                known = self._known(mention, parent)
                if known is not None:
                    self._adopt(known, parent)
                    continue
            position, children = self._visit(mention, parent, place)
            for i, child in enumerate(children):
                pending.append((child, position, i))

    def _known(self, mention: Any, parent: int) -> int | None:
        """The same object again: one job with two parents. Equal dicts side by side are several jobs."""
        known = self.by_object[id(mention)]
        if self.share and (isinstance(mention, Node) or parent not in self.jobs[known].parents):
            return known
        above = parent
        while above >= 0:  # a node that holds itself would go on for ever
            if self.mentions[above] is mention:
                return above
            above = self.first[above][0]
        return None

    def _adopt(self, child: int, parent: int, policy: str | None = None) -> None:
        job = self.jobs[child]
        if parent < 0:
            return
        if parent not in job.parents:
            job.parents[parent] = policy or job.options.policy or "fpof"
            self.jobs[parent].children.append(child)
            if len(job.parents) > 1:
                self.shared[child] = None

    def _visit(self, mention: Any, parent: int, place: int) -> tuple[int, Iterable[Any]]:
        try:
            node = read(mention, "")
            if node.problem:
                raise FlowError(node.problem)
            if node.bind and not self.share:
                raise FlowError(
                    "a task with nodes as arguments is more than BullMQ can store; leave semantics='bullmq' out"
                )
            base = self._base(node)
            problem = keys.problem_with_name(node.name)
            if problem:
                raise FlowError(f"name {problem}")
            options = self._options(node) if node.opts or self.defaults else _PLAIN
            data = codec.encode(node.data, "data")
            if options.size_limit is not None and len(data.encode()) > options.size_limit:
                raise FlowError(
                    f"data: {len(data.encode()):,} bytes, over its sizeLimit of {options.size_limit:,}"
                )
            children = self._children(node)
            given = None if options.job_id is None else self._given_id(options.job_id)
        except (FlowError, OptionError) as error:
            path = self._path((parent, place))
            raise type(error)(f"{path}: {str(error).removeprefix(': ').removeprefix('.')}") from None
        if given is not None and (base, given) in self.by_id:
            same = self.by_id[base, given]
            if not self.share:
                raise FlowError(
                    f"{self._path((parent, place))}: opts.jobId {given!r} is also that of "
                    f"{self._path(self.first[same])}, and BullMQ gives a job one parent: the second would wait "
                    "for ever; leave semantics='bullmq' out to share the job, or give another jobId"
                )
            self._mention_again(same, node, data, (parent, place))
            self._adopt(same, parent, options.policy)
            if children and same not in self.have_children:
                self.have_children.add(same)
                return same, children
            return same, ()
        position = len(self.jobs)
        policy = (options.policy or "fpof") if self.share else (options.bullmq_policy or "")
        parents = {parent: policy} if parent >= 0 else {}
        self.jobs.append(PlannedJob(node.name, base, given or "", data, options, parents, []))
        self.nodes.append(node)
        self.first.append((parent, place))
        self.mentions.append(mention)
        self.by_object[id(mention)] = position
        if parent >= 0:
            self.jobs[parent].children.append(position)
        if given is not None:
            self.by_id[base, given] = position
        if children:
            self.have_children.add(position)
        return position, children

    def _mention_again(self, same: int, node: Node, data: str, place: tuple[int, int]) -> None:
        job = self.jobs[same]
        if node.name != job.name or (data not in ("{}", job.data)):
            raise FlowError(
                f"{self._path(place)}: the id {job.id!r} is also that of {self._path(self.first[same])}, with another "
                "name or other data; give one of them another jobId"
            )

    def _base(self, node: Node) -> str:
        found = self.bases.get((node.prefix, node.queue))
        if found is None:
            problem = keys.problem_with_queue(node.queue)
            if problem:
                raise FlowError(f"queueName {problem}")
            prefix = self.prefix if node.prefix is None else keys.checked_prefix(node.prefix)
            found = self.bases[node.prefix, node.queue] = keys.base(prefix, node.queue)
        return found

    def _options(self, node: Node) -> JobOptions:
        default = self.defaults.get(node.queue)
        if node.opts is not None and not isinstance(node.opts, Mapping):
            raise OptionError(f"opts: opts is a dict, not {type(node.opts).__name__}")
        if not node.opts and not default:
            return JobOptions.read(None, "opts")
        # Siblings mostly have equal options: checked once.
        known = (node.queue if default else None, repr(node.opts))
        found = self.options.get(known)
        if found is None:
            opts = node.opts or {}
            found = self.options[known] = JobOptions.read({**(default or {}), **opts}, "opts")
        return found

    def _children(self, node: Node) -> Sequence[Any]:
        children = node.children
        if type(children) is list or type(children) is tuple:
            return children
        if isinstance(children, (str, bytes, Mapping, Node)) or not isinstance(children, Iterable):
            raise FlowError(f"children is a list of nodes, not {type(children).__name__}")
        return list(children)

    def _given_id(self, given: str) -> str:
        problem = keys.problem_with_id(given)
        if problem:
            raise FlowError(f"opts.jobId {problem}")
        return given

    def _path(self, place: tuple[int, int]) -> str:
        steps = []
        parent, position = place
        while parent >= 0:
            steps.append(f"children[{position}]")
            parent, position = self.first[parent]
        return "/".join(["root", *reversed(steps)])

    # ---- shared jobs --------------------------------------------------------------------------------

    def merge_mentions(self) -> None:
        """Merge a bare re-mention into the node it mentions: the guide's order workflow."""
        full: dict[tuple[str, str], list[int]] = {}
        for position, job in enumerate(self.jobs):
            if job.children:
                full.setdefault((job.base, job.name), []).append(position)
        for position, job in enumerate(self.jobs):
            if (
                job.children
                or (job.base, job.name) not in full
                or job.id
                or job.data == "{}"
                or not job.parents
            ):
                continue
            same = [
                other
                for other in full[job.base, job.name]
                if self.jobs[other].data == job.data
                and not job.parents.keys() & self.jobs[other].parents.keys()
            ]
            if len(same) == 1 and not self._is_below(position, same[0]):
                self._merge(position, same[0])

    def _is_below(self, position: int, other: int) -> bool:
        above, seen = list(self.jobs[position].parents), set[int]()
        while above:
            step = above.pop()
            if step == other:
                return True
            if step not in seen:  # shared jobs are reached by many ways
                seen.add(step)
                above += self.jobs[step].parents
        return False

    def _merge(self, position: int, into: int) -> None:
        job = self.jobs[position]
        for parent, policy in job.parents.items():
            siblings = self.jobs[parent].children
            siblings[siblings.index(position)] = into
            self.jobs[into].parents[parent] = policy
        self.merged.add(position)
        self.shared[into] = None

    # ---- the result ---------------------------------------------------------------------------------

    def finish(self) -> Plan:
        announcements = [self._announcement(position) for position in list(self.shared)[:_MOST_TOLD]]
        if len(self.shared) > _MOST_TOLD:
            announcements.append(f"shared: {len(self.shared) - _MOST_TOLD:,} more jobs")
        order = self._order()
        place = {position: i for i, position in enumerate(order)}
        jobs = [self.jobs[position] for position in order]
        for i, job in enumerate(jobs):
            job.id = job.id or (f"{self.flow}-{i}" if i else self.flow)
        if order != list(range(len(self.jobs))):  # shared jobs have moved behind the last of their parents
            for job in jobs:
                job.parents = {place[parent]: policy for parent, policy in job.parents.items()}
                job.children = [place[child] for child in job.children]
        for job, position in zip(jobs, order, strict=True):
            if self.nodes[position].bind:
                job.bind = self._bind(position, jobs, place)
        return Plan(self.flow, self.prefix, jobs, announcements)

    def _order(self) -> list[int]:
        """Parents before children, level by level as BullMQ writes them; a cycle is what cannot be ordered."""
        if not self.shared and not self.jobs[0].parents:  # a tree is in order as it was walked
            return list(range(len(self.jobs)))
        waits_for = {i: len(job.parents) for i, job in enumerate(self.jobs) if i not in self.merged}
        order = [0] if not self.jobs[0].parents else []
        for position in order:
            for child in self.jobs[position].children:
                waits_for[child] -= 1
                if not waits_for[child]:
                    order.append(child)
        if len(order) < len(waits_for):
            raise FlowError(self._cycle({i for i, n in waits_for.items() if n}))
        return order

    def _cycle(self, stuck: set[int]) -> str:
        trail: dict[int, None] = {}
        step = min(stuck)
        while step not in trail:  # every stuck job has a stuck parent: walking up must come round
            trail[step] = None
            step = next(parent for parent in self.jobs[step].parents if parent in stuck)
        names = [self.jobs[i].name for i in [*list(trail)[list(trail).index(step) :], step]]
        return f"{self._path(self.first[step])}: cycle: {' -> '.join(reversed(names))}; a job cannot wait for itself"

    def _bind(self, position: int, planned: list[PlannedJob], place: dict[int, int]) -> str:
        def key_of(value: Any) -> Any:
            if isinstance(value, Node):
                return planned[place[self.by_object[id(value)]]].key
            if isinstance(value, Mapping):
                return {name: key_of(item) for name, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [key_of(item) for item in value]
            return value

        bind = self.nodes[position].bind or {}
        return codec.encode({name: key_of(value) for name, value in bind.items()}, "bind")

    def _announcement(self, position: int) -> str:
        job = self.jobs[position]
        parents = [self.jobs[parent].name for parent in job.parents]
        if len(parents) > _MOST_TOLD:
            parents[_MOST_TOLD - 1 :] = [f"{len(parents) - _MOST_TOLD + 1:,} more"]
        return f"shared: {job.name} under {', '.join(parents[:-1])} and {parents[-1]}"
