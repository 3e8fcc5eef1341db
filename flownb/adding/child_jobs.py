"""Children that a running job adds: stored once, waited for without a slot, answered when the function runs again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.adding.node import Node
from flownb.adding.plan import plan
from flownb.adding.planned_job import Plan
from flownb.adding.removal_options import field_of
from flownb.adding.send import groups_of, pieces_of, send
from flownb.errors import FlowError, OptionError, UnrecoverableError, WaitingChildren
from flownb.wire import codec, keys
from flownb.wire.flow_log import log_flow
from flownb.wire.folding import MOST_SINGLE, template_of
from flownb.wire.job_rows import AddingRun, FieldRow, FlowRecord
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.declared import AddedChildren, grown_field


@dataclass(slots=True)
class Run:
    """One run of a job, as its worker knows it."""

    token: str  #: the right to run it
    calls: int = 0  #: of `add_children` in this run
    waits: bool = False  #: it waits for children it has added, whatever its function makes of that
    eager: Sequence[str] = ()  #: of these children, one that fails ends the wait


def values_of_children(store: Store, job: JobRecord, run: Run, children: Iterable[Any]) -> list[Any]:
    """Return what these children returned, in order; store them and end the run where they have not ended yet."""
    mentions = _listed(children)
    number, run.calls = run.calls, run.calls + 1
    if not mentions:
        return []
    made = _planned(store, job, number, mentions)
    growth = store.declared.read_added(job.key, made.prefix, number)
    asked = _digest(made)
    if growth.asked is None:
        _store(store, job, run, made, growth, number, asked)
    elif growth.asked != asked:
        raise UnrecoverableError(_difference(store, made, number))
    below = [made.jobs[i].key for i in made.root.children]
    run.eager = [made.jobs[i].key for i in made.root.children if made.jobs[i].parents[0] == "cpof"]
    if growth.asked is None or (
        store.children.is_any_awaited(job.key, below) and not _goes_on(store, job, run)
    ):
        run.waits = True
        raise WaitingChildren(f"job {job.name!r} waits for {len(below):,} children")
    values = codec.decode_each(store.children.read_values(job.key, below))
    return [values.get(key) for key in below]


def _listed(children: Iterable[Any]) -> list[Any]:
    if isinstance(children, (str, bytes, Mapping, Node)) or not isinstance(children, Iterable):
        raise FlowError(f"add_children takes a list of nodes, not {type(children).__name__}")
    return list(children)


# ---- what is asked for ----------------------------------------------------------------------------------


def _planned(store: Store, job: JobRecord, number: int, mentions: Sequence[Any]) -> Plan:
    """Lay out the children under the job; the same call of the same job gives the same ids in every run."""
    prefix, queue, id = keys.split(job.key)
    digest = hashlib.blake2b(job.key.encode(), digest_size=10).digest()
    root = Node(job.name, queue, children=mentions, prefix=prefix)
    home = _home(store, job)
    try:
        made = plan(root, prefix=home, flow=f"{base64.b32encode(digest).decode().lower()}-{number}")
    except (FlowError, OptionError) as error:
        raise type(error)(str(error).removeprefix("root/")) from None
    if len(made.root.children) < len(mentions):
        raise FlowError("add_children: two of the children are one job; give each once")
    given = {planned.key for planned in made.jobs[1:] if not planned.id.startswith(f"{made.flow}-")}
    made.root.id, made.grows = id, True
    if given & _above(store, job, given):
        raise FlowError(
            f"add_children: job {job.name!r} cannot wait for itself or for a job that waits for it"
        )
    return made


def _home(store: Store, job: JobRecord) -> str:
    """Return the prefix under which the job's flow lives."""
    return keys.home_and_flow(job.flow or "")[0] or store.prefix


def _above(store: Store, job: JobRecord, given: set[str]) -> set[str]:
    """Return the job and all that wait for it; read only where an id was given."""
    above, level = {job.key}, [job.key] if given else []
    while level:
        further = store.shared.read_further_parents(level)
        records = store.jobs.read(level, ("name", "parentKey"))
        first = [record.parent_key for record in records if record and record.parent_key]
        level = list({*first, *(key for some in further.values() for key in some)} - above)
        above.update(level)
    return above


def _digest(made: Plan) -> str:
    parts = [[job.base, job.id, job.name, job.data, job.children, job.bind] for job in made.jobs[1:]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _difference(store: Store, made: Plan, number: int) -> str:
    """Say how the children asked for now differ from those that this call has added before."""
    what = "fewer of them, or other jobs below them"
    places = made.root.children
    stored = store.jobs.read([made.jobs[i].key for i in places], ("name", "data"))
    for place, (i, there) in enumerate(zip(places, stored, strict=True)):
        job = made.jobs[i]
        if there is None:
            what = f"{job.name!r} at children[{place}], which was not there"
        elif (there.name, there.data) != (job.name, job.data):
            was = f"{there.name!r} with {_short(there.data)}"
            what = f"{job.name!r} with {_short(job.data)} at children[{place}], which was {was}"
        else:
            continue
        break
    return (
        f"add_children, call {number + 1} of this function: asks for other children than in the run before, {what}. "
        "What stands above the call runs again and must come to the same children: keep time, chance and what "
        "changes meanwhile out of them"
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


# ---- storing them ---------------------------------------------------------------------------------------


def _store(
    store: Store, job: JobRecord, run: Run, made: Plan, growth: AddedChildren, number: int, asked: str
) -> None:
    """Store the children; with the last of them, that this call is answered from now on."""
    flow = growth.flow
    if flow is None and _is_alone(store, job):  # it becomes the root of a flow
        made.flow = made.flow.rpartition("-")[0]
        fields = {"name": job.name, "root": job.key, "total": str(len(made.jobs)), "on_failure": "cancel"}
        record: FlowRecord | None = FlowRecord(id=made.flow, fields=fields)
    else:  # in a flow of another program's its children are counted by nobody, as all its jobs
        made.flow = keys.home_and_flow(flow)[1] if flow else made.flow
        record = FlowRecord(id=made.flow) if flow else None
    place = keys.own(made.prefix, "children", job.key)
    more = [FieldRow(place, f"run:{n}", piece) for n, piece in enumerate(pieces_of(made, 0), growth.pieces)]
    groups = _joined(growth.groups, groups_of(made, 0))
    more += [
        FieldRow(place, "groups", json.dumps(groups, separators=(",", ":"))),
        FieldRow(place, f"call:{number}", asked),
        FieldRow(job.key, "ac", str(max(number + 1, growth.calls))),
    ]
    if flow:
        base = keys.base_of(job.key)
        parents = store.shared.read_further_parents([job.key])[job.key]
        parents += [job.parent_key] if job.parent_key else []
        for parent in (keys.own(made.prefix, "children", key) for key in parents):
            more += [FieldRow(parent, "grown", "1"), FieldRow(parent, grown_field(base, job.name), job.key)]
    if record and "tidy" in field_of(made):
        more.append(FieldRow(keys.own(made.prefix, "flow", made.flow), "tidy", "jobs"))
    under = AddingRun(key=job.key, token=run.token, attempts_started=job.attempts_started)
    send(store, made, record, under, more)
    flow = record.id if record else None
    log_flow(f"has added children: {len(made.root.children):,}", flow=flow, job=job.key)


def _is_alone(store: Store, job: JobRecord) -> bool:
    """Whether the job stands in no tree, that of another program included."""
    return job.parent_key is None and not any(store.children.counts([job.key])[0])


def _joined(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return two summaries as one: of siblings that look alike, few stand for themselves and many are one group."""
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for group in [*old, *new]:
        alike.setdefault((group["base"], template_of(group["name"]), group["optional"]), []).append(group)
    joined = []
    for (_, template, _), groups in alike.items():
        count = sum(group["count"] for group in groups)
        if len(groups) == 1 or count <= MOST_SINGLE:
            joined += groups
            continue
        names = {group["name"] for group in groups}
        first = [key for group in groups for key in group["first"]][:MOST_SINGLE]
        leaf = all(group["leaf"] for group in groups)
        name = names.pop() if len(names) == 1 else template
        joined.append({**groups[0], "name": name, "count": count, "first": first, "leaf": leaf})
    return joined


def _goes_on(store: Store, job: JobRecord, run: Run) -> bool:
    """Whether a child failed whose policy lets the parent go on without the others."""
    return bool(run.eager) and not store.children.read_ignored(job.key).keys().isdisjoint(run.eager)
