"""Sending a plan to the server: one call up to 1,000 jobs, sealed chunks above."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import starmap
from typing import Any

from flownb.adding.chunks import calls_of
from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.removal_options import field_of, keep_of
from flownb.errors import Cancelled, FlowError, JobExists
from flownb.options import JobOptions
from flownb.wire import child_list, keys
from flownb.wire.flow_log import log_flow
from flownb.wire.folding import MOST_SINGLE, group_siblings
from flownb.wire.job_rows import AddingRun, FieldRow, FlowRecord, JobDetails, JobRow, ParentRow
from flownb.wire.records import OPTIONAL
from flownb.wire.store import Store
from flownb.wire.store.limits import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL

_AHEAD = 2  # calls made ready before the server has answered
_PIECE = 5000  #: children a piece of a parent's declared list


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
    fields |= field_of(made) | dict(about or {})
    record = FlowRecord(id=made.flow, name=name, fields=fields)
    try:
        existing = send(store, made, record, fresh=fresh)
    except Cancelled:
        raise FlowError(
            f"flow {fields['name']!r} was cancelled while it was being stored; the rest of it was not stored"
        ) from None
    log_flow(f"is stored, jobs: {len(made.jobs):,}", flow=made.flow)
    return existing


def send(
    store: Store,
    made: Plan,
    record: FlowRecord | None,
    under: AddingRun | None = None,
    at_last: Sequence[FieldRow] = (),
    *,
    fresh: bool = False,
) -> list[str]:
    """Send a plan whose flow has this record; return the ids that were there, as `store_plan` does.

    `under` is the run of the root that gets children; `at_last` are further fields, stored with the last job.
    """
    if len(made.jobs) <= MOST_JOBS_A_CALL and sum(job.size for job in made.jobs) <= MOST_BYTES_A_CALL:
        call = AddCall(made)
        call.take(range(made.grows, len(made.jobs)))
        call.close(i for i, job in enumerate(made.jobs) if job.children)
        call.fields += at_last
        whole = record and replace(record, is_stored=True)
        try:
            return store.jobs.add(
                call.bases, record=whole, fresh=fresh, adding_run=under, **call.arguments()
            )[1]
        except JobExists as error:  # since somebody looked
            raise taken(made, str(error)) from None
    return _send_sealed(store, made, record, under, at_last)


def _send_sealed(
    store: Store,
    made: Plan,
    record: FlowRecord | None,
    under: AddingRun | None,
    at_last: Sequence[FieldRow],
) -> list[str]:
    """Send a large plan call by call, each made ready while the server is busy with the one before.

    In order, and never one after a call that failed: the last call lets the parents go.
    """
    seal = keys.seal(made.prefix, made.flow)
    failed = threading.Event()

    def send(call: AddCall, is_last: bool) -> list[str]:
        if failed.is_set():
            return []
        try:
            about = record and replace(record, is_stored=is_last)
            if is_last:
                call.fields += at_last
            return store.jobs.add(call.bases, record=about, seal=seal, adding_run=under, **call.arguments())[
                1
            ]
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


def _sealed(made: Plan) -> Iterator[tuple[AddCall, bool]]:
    missing = {i: len(job.children) for i, job in enumerate(made.jobs) if job.children}
    first = int(made.grows)  # the root is there already
    for some in calls_of([job.size for job in made.jobs[first:]]):
        positions = range(some.start + first, some.stop + first)
        call = AddCall(made)
        call.take(positions)
        whole = []
        for i in positions:
            for parent in made.jobs[i].parents:
                missing[parent] -= 1
                if not missing[parent]:
                    whole.append(parent)
        call.close(whole)
        yield call, positions.stop == len(made.jobs)


class AddCall:
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
        self.parent_rows: list[ParentRow] = []
        self.jobs: list[JobRow] = []
        self.fields: list[FieldRow] = []
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
            "fields": self.fields,
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
            details = None
            if job.children or job.bind or base in self.far or id(options) in self.special:
                details = JobDetails(
                    delay=options.delay,
                    priority=options.priority,
                    lifo=options.lifo,
                    has_children=bool(job.children),
                    bind=job.bind,
                    flow_prefix=self.far.get(base),
                    keep=self.keeps.get(id(options)),
                )
                self.fields += starmap(FieldRow, job.beside)
            self.jobs.append(JobRow(place, job.id, job.name, job.data, opts, parent, details))
            if job.children:
                self._declare(i, job)
            if not i:
                self.fields += starmap(FieldRow, self.made.notes)

    def close(self, whole: Iterable[int]) -> None:
        """Parents whose last child is in this call (or was before) wait for nothing but their children."""
        self.unseal += [self.made.jobs[i].key for i in whole]

    def _place(self, base: str) -> int:
        self.base_places[base] = len(self.base_places) + 1
        # A job under another prefix than the flow's record says where that record is.
        if keys.prefix_of_base(base) != self.prefix:
            self.far[base] = keys.part(self.prefix, "")
        return self.base_places[base]

    def _opts(self, options: JobOptions) -> int:
        self.opts_texts.append(json.dumps(dict(options.wire), separators=(",", ":")))
        self.opts[id(options)] = len(self.opts_texts)
        if options.delay or options.priority or options.lifo:
            self.special.add(id(options))
        if options.removes:
            self.special.add(id(options))
            self.keeps[id(options)] = keep_of(options)
        return len(self.opts_texts)

    def _parent(self, position: int, policy: str) -> int:
        parent = self.made.jobs[position]
        link = {"id": parent.id, "queueKey": parent.base, policy: True}
        text = json.dumps(link, separators=(",", ":"))
        is_outside = self.made.grows and not position
        self.parent_rows.append(ParentRow(parent.key, text, policy, is_outside))
        self.parents[position, policy] = len(self.parent_rows)
        return len(self.parent_rows)

    def _declare(self, position: int, job: PlannedJob) -> None:
        """The declared order of a parent's children, and a summary that a picture is drawn from."""
        place = keys.own(self.prefix, "children", job.key)
        for number, piece in enumerate(pieces_of(self.made, position)):
            self.fields.append(FieldRow(place, str(number), piece))
        groups = json.dumps(groups_of(self.made, position), separators=(",", ":")).encode()
        self.fields.append(FieldRow(place, "groups", groups))


def taken(made: Plan, key: str, state: str | None = None) -> FlowError:
    """Return the refusal of an id that is there already."""
    _, queue, id = keys.split(key)
    return FlowError(
        f"{made.path(key)}: opts.jobId {id!r} is there already in queue {queue!r}{f' ({state})' if state else ''}; "
        "give another jobId, or if_exists='reuse' or 'rerun'"
    )


def pieces_of(made: Plan, parent: int) -> Iterator[bytes]:
    """Yield the declared children of a planned job, in pieces as they are stored."""
    children = [made.jobs[i] for i in made.jobs[parent].children]
    rows = made.rows.get(parent)
    pieces = rows.pieces(len(children), _PIECE) if rows else _alone(len(children))
    for start, stop, some_rows in pieces:
        some = children[start:stop]
        yield child_list.pack([child.base for child in some], [child.id for child in some], some_rows)


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
