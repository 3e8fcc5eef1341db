"""Writing a plan to the server: one call up to 1,000 jobs, sealed chunks above."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, overload

from flownb import connection as connections
from flownb import seams
from flownb.connection import Connection
from flownb.errors import FlowError, OptionError
from flownb.flows.bullmq import store_as_bullmq
from flownb.flows.chunks import calls_of
from flownb.flows.flow import Flow
from flownb.flows.job import Job, find_job
from flownb.flows.plan import OPTIONAL, Plan, PlannedJob, plan
from flownb.options import JobOptions
from flownb.wire import codec, keys
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.store import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL, Store

_AHEAD = 2  # calls made ready before the server has answered
_PIECE = 5000  #: children a piece of a parent's declared list


class FlowProducer:
    """Adds flows: trees of jobs, in which a parent runs when its children are done.

    >>> producer = FlowProducer()
    >>> flow = producer.add({"name": "report", "queueName": "doc-reports",
    ...                      "children": [{"name": "load", "queueName": "doc-loads", "data": {"day": 1}}]})
    >>> flow
    Flow('report': 2 jobs)
    """

    def __init__(self, *, connection: Connection | None = None) -> None:
        self._connection = connection

    @overload
    def add(
        self,
        tree: Any,
        *,
        name: str | None = None,
        queues_options: Mapping[str, Mapping[str, Any]] | None = None,
        semantics: Literal["flownb"] = "flownb",
    ) -> Flow: ...

    @overload
    def add(
        self,
        tree: Any,
        *,
        queues_options: Mapping[str, Mapping[str, Any]] | None = None,
        semantics: Literal["bullmq"],
    ) -> Job: ...

    def add(
        self,
        tree: Any,
        *,
        name: str | None = None,
        queues_options: Mapping[str, Mapping[str, Any]] | None = None,
        semantics: str = "flownb",
    ) -> Flow | Job:
        """Store a tree of dicts or `Node`s and return its `Flow`.

        `name` is what `flownb.attach` finds it by. `queues_options` are BullMQ's: by queue,
        ``{"defaultJobOptions": {...}}``. Raises `FlowError` or `OptionError` with the node's path before
        anything is written, `ServerError` when the server cannot take it.

        ``semantics="bullmq"`` writes the tree as BullMQ's producer would and nothing more: no job is shared,
        a failed child without a policy leaves its parent waiting, ``removeOnComplete`` acts at once. Returned is
        the root `Job`, as for a flow that a Node service added.

        >>> tree = {"name": "total", "queueName": "doc-raw", "opts": {"removeOnComplete": True}}
        >>> FlowProducer().add(tree, semantics="bullmq").opts
        {'attempts': 0, 'removeOnComplete': True}
        """
        _check_choice("semantics", semantics, ("flownb", "bullmq"))
        made = plan_for(tree, self._resolved().prefix, queues_options, share=semantics == "flownb")
        if semantics == "flownb":
            return self._store([made], [name])[0]
        if name is not None:
            raise OptionError("name: BullMQ's flows have none; leave it out, or leave semantics='bullmq' out")
        return self._store_as_bullmq([made])[0]

    @overload
    def add_bulk(
        self, trees: Iterable[Any], *, queues_options: Any = None, semantics: Literal["flownb"] = "flownb"
    ) -> list[Flow]: ...

    @overload
    def add_bulk(
        self, trees: Iterable[Any], *, queues_options: Any = None, semantics: Literal["bullmq"]
    ) -> list[Job]: ...

    def add_bulk(
        self, trees: Iterable[Any], *, queues_options: Any = None, semantics: str = "flownb"
    ) -> list[Flow] | list[Job]:
        """Store several trees; all of them are checked before the first is written. See `add`."""
        _check_choice("semantics", semantics, ("flownb", "bullmq"))
        prefix = self._resolved().prefix
        plans = []
        for i, tree in enumerate(trees):
            try:
                plans.append(plan_for(tree, prefix, queues_options, share=semantics == "flownb"))
            except (FlowError, OptionError) as error:
                raise type(error)(f"trees[{i}]: {error}") from None
        if semantics == "bullmq":
            return self._store_as_bullmq(plans)
        return self._store(plans, [None] * len(plans))

    def _resolved(self) -> Connection:
        return self._connection or connections.current()

    def _store(self, plans: list[Plan], names: Sequence[str | None]) -> list[Flow]:
        connection = self._resolved()
        connection.ensure_writable()
        store = Store(connection.client(), connection.prefix)
        there = [_flow_there(store, made) for made in plans]
        for made, name, known in zip(plans, names, there, strict=True):
            if known is None:
                store_plan(store, made, name)
        seams.serve_here(connection)
        return [
            Flow(known or made.flow, connection=connection) for made, known in zip(plans, there, strict=True)
        ]

    def _store_as_bullmq(self, plans: list[Plan]) -> list[Job]:
        connection = self._resolved()
        connection.ensure_writable()
        store = Store(connection.client(), connection.prefix)
        for made in plans:
            store_as_bullmq(store, made)
        seams.serve_here(connection)
        return [find_job(store, made.root.key, connection) for made in plans]


def _check_choice(what: str, given: object, choices: Sequence[str]) -> None:
    if given not in choices:
        raise OptionError(f"{what}: {' or '.join(map(repr, choices))}, not {given!r}")


def add(tree: Any, *, name: str | None = None, connection: Connection | None = None) -> Flow:
    """Store a tree of dicts, `Node`s or task nodes and return its `Flow`; see `FlowProducer.add`."""
    return FlowProducer(connection=connection).add(tree, name=name)


def _flow_there(store: Store, made: Plan) -> str | None:
    """Return the flow whose root has the id the caller gave this root: adding it again is the same flow."""
    if made.root.id == made.flow:
        return None
    found = store.read_jobs([made.root.key], ("name", "fl"))[0]
    if found is None:
        return None
    if found.flow is None:
        raise FlowError(
            f"root: opts.jobId {made.root.id!r} is a job of its own in queue {found.queue!r} already; "
            "give another jobId"
        )
    return found.flow


def plan_for(tree: Any, prefix: str, queues_options: Any = None, *, share: bool = True) -> Plan:
    """Check a tree, with BullMQ's ``queuesOptions`` as defaults, and announce the jobs it shares."""
    defaults = {}
    for queue, options in (queues_options or {}).items():
        unknown = [key for key in options if key not in ("defaultJobOptions", "default_job_options")]
        if unknown:
            raise OptionError(
                f"queues_options[{queue!r}]: no such part {unknown[0]!r}; write defaultJobOptions"
            )
        defaults[queue] = options.get("defaultJobOptions") or options.get("default_job_options") or {}
    made = plan(tree, prefix=prefix, defaults=defaults, share=share)
    for announcement in made.shared:
        print(announcement)
    return made


def store_plan(
    store: Store, made: Plan, name: str | None = None, about: Mapping[str, str] | None = None
) -> list[str]:
    """Store a plan; return the ids of the jobs that were there. `about` are further fields of the flow's record.

    Up to 1,000 jobs go in one call, all or nothing. More go in chunks behind sealed parents: none of
    them can run before its last child is stored. Storing the same plan again finishes what was begun.
    """
    if name is not None:
        problem = keys.problem_with_name(name)
        if problem:
            raise FlowError(f"name {problem}")
    fields = {"name": name or made.root.name, "root": made.root.key, "total": str(len(made.jobs))} | dict(
        about or {}
    )
    record = {"id": made.flow, "named": name, "fields": [part for pair in fields.items() for part in pair]}
    if len(made.jobs) <= MOST_JOBS_A_CALL and sum(len(job.data) for job in made.jobs) <= MOST_BYTES_A_CALL:
        call = _Call(made, store.prefix)
        call.take(range(len(made.jobs)))
        call.close(i for i, job in enumerate(made.jobs) if job.children)
        return store.add_jobs(call.bases, record={**record, "stored": True}, **call.arguments())[1]
    return _send_sealed(store, made, record)


def _send_sealed(store: Store, made: Plan, record: Mapping[str, Any]) -> list[str]:
    """Send a large plan call by call, each made ready while the server is busy with the one before.

    In order, and never one after a call that failed: the last call lets the parents go.
    """
    seal = keys.seal(store.prefix, made.flow)
    failed = threading.Event()

    def send(call: _Call, is_last: bool) -> list[str]:
        if failed.is_set():
            return []
        try:
            about = {**record, "stored": is_last}
            return store.add_jobs(call.bases, record=about, seal=seal, **call.arguments())[1]
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="flownb-producer") as sender:
        sent: list[Future[list[str]]] = []
        try:
            for call, is_last in _sealed(made, store.prefix):
                sent.append(sender.submit(send, call, is_last))
                if len(sent) > _AHEAD:
                    sent[-1 - _AHEAD].result()
            return [id for one in sent for id in one.result()]
        except BaseException:  # also an interrupt: what is not on its way stays here
            failed.set()
            raise


def _sealed(made: Plan, prefix: str) -> Iterator[tuple[_Call, bool]]:
    missing = {i: len(job.children) for i, job in enumerate(made.jobs) if job.children}
    for positions in calls_of([len(job.data) for job in made.jobs]):
        call = _Call(made, prefix)
        call.take(positions)
        whole = []
        for i in positions:
            for parent in made.jobs[i].parents:
                missing[parent] -= 1
                if not missing[parent]:
                    whole.append(parent)
        call.close(whole)
        yield call, positions.stop == len(made.jobs)


class _Call:
    """The arguments of one `add_jobs`: what repeats is said once and pointed to."""

    def __init__(self, made: Plan, prefix: str) -> None:
        self.made = made
        self.prefix = prefix
        self.base_places: dict[str, int] = {}
        self.far: dict[str, str] = {}
        self.special: set[int] = set()  # options that say when or where a job runs
        self._place(made.root.base)  # the first queue tells where the flow's record lives
        self.opts: dict[int, int] = {}
        self.opts_texts: list[str] = []
        self.parents: dict[tuple[int, str], int] = {}
        self.parent_rows: list[list[Any]] = []
        self.jobs: list[list[Any]] = []
        self.chunks: list[tuple[str, str, bytes]] = []
        self.unseal: list[str] = []

    @property
    def bases(self) -> list[str]:
        return list(self.base_places)

    def arguments(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "opts": self.opts_texts,
            "parents": self.parent_rows,
            "unseal": self.unseal,
            "chunks": self.chunks,
        }

    def take(self, positions: range) -> None:
        known_place, known_opts, known_parent = self.base_places.get, self.opts.get, self.parents.get
        for i, job in enumerate(self.made.jobs[positions.start : positions.stop], positions.start):
            options, base, edges = job.options, job.base, job.parents
            place = known_place(base) or self._place(base)
            opts = known_opts(id(options)) or self._opts(options)
            parent: Any = False
            if len(edges) == 1:
                [edge] = edges.items()
                parent = known_parent(edge) or self._parent(*edge)
            elif edges:
                parent = [known_parent(edge) or self._parent(*edge) for edge in edges.items()]
            row = [place, job.id, job.name, job.data, opts, parent]
            if job.children or job.bind or base in self.far or id(options) in self.special:
                more = [options.delay, options.priority, options.lifo, bool(job.children), job.bind]
                row.extend([*more, self.far.get(base)])
            self.jobs.append(row)
            if job.children:
                self._declare(i, job)

    def close(self, whole: Iterable[int]) -> None:
        """Parents whose last child is in this call (or was before) wait for nothing but their children."""
        self.unseal += [self.made.jobs[i].key for i in whole]

    def _place(self, base: str) -> int:
        self.base_places[base] = len(self.base_places) + 1
        # A job under another prefix than the flow's record says where that record is.
        if base.rsplit(":", 1)[0] != self.prefix:
            self.far[base] = f"{self.prefix}:"
        return self.base_places[base]

    def _opts(self, options: JobOptions) -> int:
        self.opts_texts.append(json.dumps(dict(options.wire), separators=(",", ":")))
        self.opts[id(options)] = len(self.opts_texts)
        if options.delay or options.priority or options.lifo:
            self.special.add(id(options))
        return len(self.opts_texts)

    def _parent(self, position: int, policy: str) -> int:
        parent = self.made.jobs[position]
        link = {"id": parent.id, "queueKey": parent.base, policy: True}
        self.parent_rows.append([parent.key, json.dumps(link, separators=(",", ":")), policy, False])
        self.parents[position, policy] = len(self.parent_rows)
        return len(self.parent_rows)

    def _declare(self, position: int, job: PlannedJob) -> None:
        """The declared order of a parent's children, and a summary that a picture is drawn from."""
        place = keys.own(self.prefix, "children", job.key)
        children = [self.made.jobs[i] for i in job.children]
        for number, start in enumerate(range(0, len(children), _PIECE)):
            some = children[start : start + _PIECE]
            rows = self.made.rows.get(position)
            piece = codec.pack_children(
                [child.base for child in some],
                [child.id for child in some],
                rows and (rows[0][start : start + _PIECE], rows[1][start : start + _PIECE]),
            )
            self.chunks.append((place, str(number), piece))
        self.chunks.append((place, "groups", self._groups(position, children)))

    def _groups(self, parent: int, children: Sequence[PlannedJob]) -> bytes:
        groups = []
        for base, name, positions in group_siblings([(child.base, child.name) for child in children]):
            members = [children[i] for i in positions]
            policy = members[0].parents[parent]
            leaf = not any(member.children for member in members)
            first = [member.key for member in members[:MOST_SINGLE]]
            groups.append(group_of(base, name, first, len(members), policy, leaf))
        return json.dumps(groups, separators=(",", ":")).encode()


def group_of(base: str, name: str, first: list[str], count: int, policy: str, leaf: bool) -> dict[str, Any]:
    """Return one group of like siblings, as a parent's summary holds it; `leaf`: none of them has children."""
    return {
        "base": base,
        "name": name,
        "count": count,
        "first": first,
        "optional": policy in OPTIONAL,
        "leaf": leaf,
    }
