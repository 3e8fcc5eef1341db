"""The plan of a flow: its checked jobs in the order in which they are sent, parents before children."""

from __future__ import annotations

from dataclasses import dataclass, field

from flownb.options import JobOptions
from flownb.wire import child_list, keys


@dataclass(slots=True)
class PlannedJob:
    """A job of the plan; other jobs of the plan are named by their position in it."""

    name: str
    base: str  #: its queue's qualified name
    id: str  #: empty while the plan is made, if the caller gave none
    data: str
    options: JobOptions
    parents: dict[int, str]  #: position -> policy, the first parent first; siblings may share one dict
    children: list[int]
    bind: str | None = None
    beside: tuple[tuple[str, str, bytes], ...] = ()  #: key, field, value: notes that are stored with the job
    weights: str | None = None  #: what it weighs in units that its queue limits
    shown_as: tuple[str, str] | None = None  #: among which queue key and name a picture has it; None: its own

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
    rows: dict[int, child_list.ChildRows] = field(default_factory=dict)
    notes: list[tuple[str, str, bytes]] = field(default_factory=list)  #: stored too: key, field, value
    joins: bool = False  #: it adds to the account of its name's earlier batch
    paused: str | None = None  #: why the flow is paused from the start on
    seen: tuple[str, int | None] | None = None  #: see `FlowRecord`
    grows: bool = False  #: the root is there already and runs: it gets children

    @property
    def root(self) -> PlannedJob:
        return self.jobs[0]

    def rename(self, flow: str) -> None:
        """Give the flow another id, and with it those of its jobs whose ids the caller did not give."""
        for job in self.jobs:
            if job.options.job_id is None:
                job.id = flow + job.id.removeprefix(self.flow)
            if job.bind:
                job.bind = job.bind.replace(self.flow, flow)
        self.flow = flow

    def path(self, key: str) -> str:
        """Return where in the tree the job of this key is, by its first parents: ``root/children[3]``."""
        position = next(i for i, job in enumerate(self.jobs) if job.key == key)
        steps: list[str] = []
        while self.jobs[position].parents:
            parent = next(iter(self.jobs[position].parents))
            steps.append(f"children[{self.jobs[parent].children.index(position)}]")
            position = parent
        return "/".join(["root", *reversed(steps)])
