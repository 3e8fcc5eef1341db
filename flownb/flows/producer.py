"""Writing a plan to the server: one call up to 1,000 jobs, sealed chunks above."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from flownb import connection as connections
from flownb import seams
from flownb.connection import Connection
from flownb.errors import Cancelled, FlowError, JobExists, OptionError
from flownb.flows import existing, tidy
from flownb.flows.bullmq import store_as_bullmq
from flownb.flows.chunks import calls_of
from flownb.flows.flow import Flow
from flownb.flows.found import flow_around
from flownb.flows.journal import tell
from flownb.flows.plan import OPTIONAL, Plan, PlannedJob, plan
from flownb.options import JobOptions
from flownb.wire import codec, keys
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.store import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL, Store

_T = TypeVar("_T")
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

    def add(
        self,
        tree: Any,
        *,
        name: str | None = None,
        queues_options: Mapping[str, Mapping[str, Any]] | None = None,
        semantics: str = "flownb",
        if_exists: str = "reuse",
        on_failure: str | None = None,
    ) -> Flow:
        """Store a tree of dicts or `Node`s and return its `Flow`.

        `name` is what `flownb.attach` finds it by. `queues_options` are BullMQ's: by queue,
        ``{"defaultJobOptions": {...}}``. Raises `FlowError` or `OptionError` with the node's path before
        anything is written, `ServerError` when the server cannot take it.

        `if_exists` says what a ``jobId`` means that is there already. ``"reuse"``: that job is used as it is, its
        value or failure included; with the root's id, the flow that is there is returned. ``"rerun"``: what is there
        is removed and all runs anew; refused while it runs or a flow that has not ended waits for it. ``"error"``:
        refused.

        `on_failure` says what becomes of jobs that have not run yet when a failure makes the job above them fail:
        ``"cancel"`` (the default) ends them with the reason ``cancelled``, ``"finish"`` runs them all the same. Jobs
        that something else needs run in any case.

        ``semantics="bullmq"`` writes the tree as BullMQ's producer would and nothing more: no job is shared,
        a failed child without a policy leaves its parent waiting, ``removeOnComplete`` acts at once. The `Flow` is
        like that of a tree which a Node service added.

        >>> tree = {"name": "total", "queueName": "doc-raw", "opts": {"jobId": "november"}}
        >>> FlowProducer().add(tree, semantics="bullmq").job.opts
        {'attempts': 0, 'jobId': 'november'}
        >>> FlowProducer().add(tree, if_exists="error")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        flownb.errors.FlowError: root: opts.jobId 'november' is there already in queue 'doc-raw' (waiting); ...
        """
        adding = _Adding(self._connection, queues_options, semantics, if_exists, on_failure)
        if semantics == "bullmq" and name is not None:
            raise OptionError("name: BullMQ's flows have none; leave it out, or leave semantics='bullmq' out")
        made = adding.plan(tree)
        adding.check(made)
        return adding.store(tree, made, name)

    def add_bulk(
        self,
        trees: Iterable[Any],
        *,
        queues_options: Any = None,
        semantics: str = "flownb",
        if_exists: str = "reuse",
        on_failure: str | None = None,
    ) -> list[Flow]:
        """Store several trees; all of them are checked before the first is written. See `add`.

        >>> FlowProducer().add_bulk({"name": f"day-{n}", "queueName": "doc-days"} for n in (1, 2))
        [Flow('day-1': 1 job), Flow('day-2': 1 job)]
        """
        adding = _Adding(self._connection, queues_options, semantics, if_exists, on_failure)
        trees = list(trees)
        plans = [_in_place(i, adding.plan, tree) for i, tree in enumerate(trees)]
        for i, made in enumerate(plans):
            _in_place(i, adding.check, made)
        return [adding.store(tree, made, None) for tree, made in zip(trees, plans, strict=True)]


class _Adding:
    """One call of `add` or `add_bulk`: how its trees are read, and what ids mean that are there already."""

    def __init__(
        self,
        connection: Connection | None,
        queues_options: Any,
        semantics: str,
        if_exists: str,
        on_failure: str | None,
    ) -> None:
        _check_choice("semantics", semantics, ("flownb", "bullmq"))
        _check_choice("if_exists", if_exists, existing.CHOICES)
        if on_failure is not None:
            _check_choice("on_failure", on_failure, ("cancel", "finish"))
            if semantics == "bullmq":
                raise OptionError("on_failure: BullMQ's flows have none; leave it out, or semantics='bullmq'")
        self.connection = connections.current(connection)
        self.queues_options = queues_options
        self.as_bullmq = semantics == "bullmq"
        self.if_exists = if_exists
        self.on_failure = on_failure or "cancel"

    def plan(self, tree: Any, flow: str | None = None) -> Plan:
        """Read a tree; nothing is written."""
        defaults = defaults_of(self.queues_options)
        return plan(
            tree, prefix=self.connection.prefix, flow=flow, defaults=defaults, share=not self.as_bullmq
        )

    def check(self, made: Plan) -> None:
        """Do with ids that are there what the caller asked for."""
        self.connection.ensure_writable()
        if self.if_exists == "error":
            existing.refuse(self._store, made)
        elif self.if_exists == "rerun":
            existing.clear(self._store, made)
        elif not self.as_bullmq:
            existing.flow_to_reuse(self._store, made)

    def store(self, tree: Any, made: Plan, name: str | None) -> Flow:
        """Store a plan, unless the flow of this root is there; return its handle."""
        store = self._store
        seams.settle_here(self.connection)
        if self.as_bullmq:
            store_as_bullmq(store, made)
            seams.serve_here(self.connection)
            return flow_around(store, made.root.key, self.connection, name=made.root.name)
        known, is_whole = (None, False)
        if self.if_exists != "error":
            known, is_whole = existing.flow_to_reuse(store, made)
        if known is None or not is_whole:
            if known is not None:  # begun by a producer that died meanwhile
                made = self.plan(tree, known)
            for announcement in made.shared:
                print(announcement)
            about = {"on_failure": self.on_failure}
            store_plan(store, made, name, about, fresh=self.if_exists == "error")
        seams.serve_here(self.connection)
        return Flow(made.flow if known is None else known, connection=self.connection)

    @property
    def _store(self) -> Store:
        return Store(self.connection.client(), self.connection.prefix)


def _in_place(i: int, step: Callable[[Any], _T], about: Any) -> _T:
    """Take a step for one tree of several; an error says which."""
    try:
        return step(about)
    except (FlowError, OptionError) as error:
        raise type(error)(f"trees[{i}]: {error}") from None


def _check_choice(what: str, given: object, choices: Sequence[str]) -> None:
    if given not in choices:
        raise OptionError(f"{what}: {' or '.join(map(repr, choices))}, not {given!r}")


def add(
    tree: Any,
    *,
    name: str | None = None,
    queues_options: Mapping[str, Mapping[str, Any]] | None = None,
    semantics: str = "flownb",
    if_exists: str = "reuse",
    on_failure: str | None = None,
    connection: Connection | None = None,
) -> Flow:
    """Store a tree of dicts, `Node`s or task nodes and return its `Flow`; see `FlowProducer.add`.

    >>> add({"name": "report", "queueName": "doc-reports", "children": [Node("load", "doc-loads", {"day": 1})]})
    Flow('report': 2 jobs)
    """
    return FlowProducer(connection=connection).add(
        tree,
        name=name,
        queues_options=queues_options,
        semantics=semantics,
        if_exists=if_exists,
        on_failure=on_failure,
    )


def defaults_of(queues_options: Any) -> dict[str, Any]:
    """Return BullMQ's ``queuesOptions`` as options by queue."""
    if not isinstance(queues_options or {}, Mapping):
        raise OptionError(f"queues_options: a dict by queue, not {type(queues_options).__name__}")
    defaults = {}
    for queue, options in (queues_options or {}).items():
        what = f"queues_options[{queue!r}]"
        if not isinstance(options, Mapping):
            raise OptionError(f"{what}: {{'defaultJobOptions': {{...}}}}, not {options!r}")
        unknown = [key for key in options if key not in ("defaultJobOptions", "default_job_options")]
        if unknown:
            raise OptionError(f"{what}: no such part {unknown[0]!r}; write defaultJobOptions")
        found = options.get("defaultJobOptions") or options.get("default_job_options") or {}
        if not isinstance(found, Mapping):
            raise OptionError(f"{what}.defaultJobOptions: a dict of options, not {type(found).__name__}")
        defaults[queue] = found
    return defaults


def store_plan(
    store: Store,
    made: Plan,
    name: str | None = None,
    about: Mapping[str, str] | None = None,
    *,
    fresh: bool = False,
) -> list[str]:
    """Store a plan; return the ids of the jobs that were there. `about` are further fields of the flow's record.

    Up to 1,000 jobs go in one call, all or nothing; with `fresh`, FlowError when one of them is there. More
    go in chunks behind sealed parents: none of them can run before its last child is stored. Storing the same
    plan again finishes what was begun.
    """
    if name is not None:
        problem = keys.problem_with_name(name)
        if problem:
            raise FlowError(f"name {problem}")
    fields = {"name": name or made.root.name, "root": made.root.key, "total": str(len(made.jobs))}
    fields |= tidy.field_of(made) | dict(about or {})
    record = {"id": made.flow, "named": name, "fields": [part for pair in fields.items() for part in pair]}
    try:
        existing = send(store, made, record, fresh=fresh)
    except Cancelled:
        raise FlowError(
            f"flow {fields['name']!r} was cancelled while it was being stored; the rest of it was not stored"
        ) from None
    tell(f"is stored, jobs: {len(made.jobs):,}", flow=made.flow)
    return existing


def send(
    store: Store,
    made: Plan,
    record: Mapping[str, Any] | None,
    under: Mapping[str, Any] | None = None,
    at_last: Sequence[tuple[str, str, Any]] = (),
    *,
    fresh: bool = False,
) -> list[str]:
    """Send a plan whose flow has this record; return the ids that were there, as `store_plan` does.

    `under` is the run of the root that gets children; `at_last` are further fields, stored with the last job.
    """
    if len(made.jobs) <= MOST_JOBS_A_CALL and sum(job.size for job in made.jobs) <= MOST_BYTES_A_CALL:
        call = _Call(made)
        call.take(range(made.grows, len(made.jobs)))
        call.close(i for i, job in enumerate(made.jobs) if job.children)
        call.chunks += at_last
        whole = record and {**record, "stored": True}
        try:
            return store.add_jobs(call.bases, record=whole, fresh=fresh, under=under, **call.arguments())[1]
        except JobExists as error:  # since somebody looked
            raise existing.taken(made, str(error)) from None
    return _send_sealed(store, made, record, under, at_last)


def _send_sealed(
    store: Store,
    made: Plan,
    record: Mapping[str, Any] | None,
    under: Mapping[str, Any] | None,
    at_last: Sequence[tuple[str, str, Any]],
) -> list[str]:
    """Send a large plan call by call, each made ready while the server is busy with the one before.

    In order, and never one after a call that failed: the last call lets the parents go.
    """
    seal = keys.seal(made.prefix, made.flow)
    failed = threading.Event()

    def send(call: _Call, is_last: bool) -> list[str]:
        if failed.is_set():
            return []
        try:
            about = record and {**record, "stored": is_last}
            if is_last:
                call.chunks += at_last
            return store.add_jobs(call.bases, record=about, seal=seal, under=under, **call.arguments())[1]
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="flownb-producer") as sender:
        sent: list[Future[list[str]]] = []
        try:
            for call, is_last in _sealed(made):
                sent.append(sender.submit(send, call, is_last))
                if len(sent) > _AHEAD:
                    sent[-1 - _AHEAD].result()
            return [id for one in sent for id in one.result()]
        except BaseException:  # also an interrupt: what is not on its way stays here
            failed.set()
            raise


def _sealed(made: Plan) -> Iterator[tuple[_Call, bool]]:
    missing = {i: len(job.children) for i, job in enumerate(made.jobs) if job.children}
    first = int(made.grows)  # the root is there already
    for some in calls_of([job.size for job in made.jobs[first:]]):
        positions = range(some.start + first, some.stop + first)
        call = _Call(made)
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

    def __init__(self, made: Plan) -> None:
        self.made = made
        self.prefix = made.prefix
        self.base_places: dict[str, int] = {}
        self.far: dict[str, str] = {}
        self.special: set[int] = set()  # options that say when or where a job runs
        self.keeps: dict[int, str] = {}  # what is removed after the flow's end
        self._place(made.root.base)  # the first queue tells where the flow's record lives
        self.opts: dict[int, int] = {}
        self.opts_texts: list[str] = []
        self.parents: dict[tuple[int, str], int] = {}
        self.parent_rows: list[list[Any]] = []
        self.jobs: list[list[Any]] = []
        self.chunks: list[tuple[str, str, Any]] = []
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
                row.extend([*more, self.far.get(base), self.keeps.get(id(options))])
                self.chunks += job.beside
            self.jobs.append(row)
            if job.children:
                self._declare(i, job)
            if not i:
                self.chunks += self.made.notes

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
        if options.removes:
            self.special.add(id(options))
            self.keeps[id(options)] = tidy.keep_of(options)
        return len(self.opts_texts)

    def _parent(self, position: int, policy: str) -> int:
        parent = self.made.jobs[position]
        link = {"id": parent.id, "queueKey": parent.base, policy: True}
        self.parent_rows.append(
            [parent.key, json.dumps(link, separators=(",", ":")), policy, self.made.grows and not position]
        )
        self.parents[position, policy] = len(self.parent_rows)
        return len(self.parent_rows)

    def _declare(self, position: int, job: PlannedJob) -> None:
        """The declared order of a parent's children, and a summary that a picture is drawn from."""
        place = keys.own(self.prefix, "children", job.key)
        for number, piece in enumerate(pieces_of(self.made, position)):
            self.chunks.append((place, str(number), piece))
        groups = json.dumps(groups_of(self.made, position), separators=(",", ":")).encode()
        self.chunks.append((place, "groups", groups))


def pieces_of(made: Plan, parent: int) -> Iterator[bytes]:
    """Yield the declared children of a planned job, in pieces as they are stored."""
    children = [made.jobs[i] for i in made.jobs[parent].children]
    rows = made.rows.get(parent)
    pieces = rows.pieces(len(children), _PIECE) if rows else _alone(len(children))
    for start, stop, some_rows in pieces:
        some = children[start:stop]
        yield codec.pack_children([child.base for child in some], [child.id for child in some], some_rows)


def groups_of(made: Plan, parent: int) -> list[dict[str, Any]]:
    """Return the summary of a planned job's children that a picture is drawn from."""
    children = [made.jobs[i] for i in made.jobs[parent].children]
    groups = []
    for base, name, positions in group_siblings([(child.base, child.name) for child in children]):
        members = [children[i] for i in positions]
        policy = members[0].parents[parent]
        leaf = not any(member.children for member in members)
        first = [member.key for member in members[:MOST_SINGLE]]
        groups.append(group_of(base, name, first, len(members), policy, leaf))
    return groups


def _alone(children: int) -> Iterator[tuple[int, int, None]]:
    """Cut children that stand for no rows into pieces."""
    for start in range(0, children, _PIECE):
        yield start, min(start + _PIECE, children), None


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
