"""What flownb asks of the server: one method a script, and a few plain reads. Records in, records out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb import errors
from flownb.wire import codec, keys, many_rows, versions
from flownb.wire.records import FlowCounts, JobRecord
from flownb.wire.scripts import Script, load
from flownb.wire.server_errors import server_errors
from flownb.wire.store import large_inputs, without_scripts
from flownb.wire.store.children import PIECE, Families
from flownb.wire.store.growing import Growing
from flownb.wire.store.reconciling import Settling
from flownb.wire.store.repair import Mending
from flownb.wire.store.steering import Steering

if TYPE_CHECKING:
    from redis import Redis

MOST_JOBS_A_CALL = 1000  #: a flow up to this size is stored by one call, all or nothing
CHUNK = 500  #: jobs a call of a larger flow
CHUNK_BYTES = 2_000_000  #: of data in such a call
MOST_BYTES_A_CALL = 16_000_000  #: of data; the server takes no argument over 512 MB, and stalls long before

# The fields of a job's hash, and what `JobRecord` calls them.
_TEXTS = {
    "name": "name",
    "data": "data",
    "opts": "opts",
    "progress": "progress",
    "returnvalue": "returnvalue",
    "failedReason": "failed_reason",
    "stacktrace": "stacktrace",
    "parentKey": "parent_key",
    "parent": "parent",
    "fl": "flow",
    "bind": "bind",
    "why": "why",
    "keep": "keep",
    "part": "part",
    "runs": "runs",
}
_NUMBERS = {
    "timestamp": "timestamp",
    "processedOn": "processed_on",
    "finishedOn": "finished_on",
    "delay": "delay",
    "priority": "priority",
    "atm": "attempts_made",
    "ats": "attempts_started",
    "stc": "stalled",
}
STATES_BY_RANK = ("delayed", "prioritized", "waiting-children", "completed", "failed")
ALL_FIELDS = (*(field for field in _TEXTS if field != "keep"), *_NUMBERS)
#: what tables and pictures show: everything but the payload
BRIEF_FIELDS = ("name", "failedReason", "parent", "parentKey", "why", *_NUMBERS)
TIMELINE_FIELDS = (*BRIEF_FIELDS, "runs")


@dataclass(kw_only=True, slots=True)
class Taken:
    """A job a worker has just started, and the right to run it."""

    record: JobRecord
    base: str
    token: str
    deferred: str | None  #: `defa`: fail it with this text, do not run it


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one `finish_and_fetch` brought."""

    #: done, repeated, stale, missing, failed-children or pending-children, an outcome each
    answers: list[str]
    taken: list[Taken]
    again_ms: int | None  #: a queue has a job that is due, or a limit that ends, in so many ms
    #: parents that failed in this call: what they still wait for is to be cancelled
    doomed: list[str]
    shared: list[str]  #: jobs that ended in this call: their further parents are still to be told


class Store(Steering, Families, Growing, Settling, Mending):
    """One server under one prefix. Safe to share between threads, as the client is."""

    def __init__(self, client: Redis, prefix: str, *, read_only: bool = False) -> None:
        self.client = client
        self.prefix = prefix
        self.read_only = read_only
        self._may_run_scripts = True

    # ---- transitions ------------------------------------------------------------------------------

    def add_jobs(
        self,
        queues: Sequence[str],
        *,
        jobs: Sequence[Sequence[Any]],
        opts: Sequence[str],
        parents: Sequence[Sequence[Any]],
        record: Mapping[str, Any] | None = None,
        seal: str | None = None,
        unseal: Sequence[str] = (),
        chunks: Sequence[tuple[str, str, Any]] = (),
        bullmq: bool = False,
        fresh: bool = False,
        under: Mapping[str, Any] | None = None,
    ) -> tuple[int, list[str]]:
        """Store jobs; return how many are new, and the ids that were there. See ``lua/transitions/add_jobs.lua``."""
        _check_size("jobs", jobs)
        reply = self._call(
            "add_jobs",
            queues,
            jobs=jobs,
            opts=opts,
            parents=parents,
            record=record,
            seal=seal,
            unseal=unseal,
            chunks=chunks,
            bullmq=bullmq,
            fresh=fresh,
            under=under,
        )
        return reply["added"], reply["existing"]

    def finish_and_fetch(
        self,
        queues: Sequence[str],
        *,
        outcomes: Sequence[Mapping[str, Any]],
        want: int,
        worker: Mapping[str, Any],
    ) -> Turn:
        """End many jobs and start up to `want` others (at most `MOST_JOBS_A_CALL`), in one call."""
        _check_size("outcomes", outcomes)
        want = min(want, MOST_JOBS_A_CALL)
        reply = self._call("finish_and_fetch", queues, outcomes=outcomes, want=want, worker=worker)
        return Turn(
            answers=reply["answers"],
            taken=[_taken(base, id, fields, worker["token"]) for base, id, fields in reply["jobs"]],
            again_ms=reply.get("again"),
            doomed=reply["doomed"],
            shared=reply["shared"],
        )

    def extend_leases(
        self, queues: Sequence[str], leases: Sequence[tuple[Any, ...]], *, lock_ms: int
    ) -> list[str]:
        """Renew leases ``(base, id, token[, ats])``; return the ids of those that are lost."""
        lost: list[str] = []
        for some in _slices(leases, MOST_JOBS_A_CALL):
            lost += self._call("extend_leases", queues, leases=some, lock_ms=lock_ms)["lost"]
        return lost

    def give_back(self, base: str, ids: Sequence[str], *, token: str, charge: bool, most: int) -> list[str]:
        """Put jobs whose lock starts with `token` back to the head of the line."""
        given: list[str] = []
        for some in _slices(ids, CHUNK):
            given += self._call("give_back", [base], ids=some, token=token, charge=charge, most=most)["given"]
        return given

    def sweep_stalled(self, queues: Sequence[str], *, interval: int, most: int) -> list[str]:
        """Put jobs that lost their lease back to the head of the line; return their ids."""
        stalled: list[str] = self._call("sweep_stalled", queues, interval=interval, most=most)["stalled"]
        return stalled

    def update_job(self, base: str, id: str, field: str, value: str, keep: int | None = None) -> int | None:
        """Set a job's ``progress`` or ``data``, or add a ``log`` row; return the number of log rows."""
        rows: int | None = self._call("update_job", [base], id=id, field=field, value=value, keep=keep).get(
            "rows"
        )
        return rows

    def limit_queue(self, base: str, limiter: Mapping[str, int] | None) -> None:
        """Let all workers of a queue together start so many jobs in a while (ms); None ends the limit."""
        with server_errors():
            if limiter is None:
                self.client.hdel(keys.part(base, "meta"), "max", "duration")
            else:
                self.client.hset(
                    keys.part(base, "meta"), mapping={name: limiter[name] for name in ("max", "duration")}
                )

    def is_limited(self, base: str) -> bool:
        """Say whether the queue has a limit of its own."""
        with server_errors():
            return bool(self.client.hexists(keys.part(base, "meta"), "max"))

    def pause_queue(self, base: str) -> None:
        self._call("pause_queue", [base])

    def resume_queue(self, base: str) -> None:
        start = self._call("resume_queue", [base], start=None).get("after")
        while start is not None:
            start = self._call("resume_queue", [base], start=start).get("after")

    # ---- reads --------------------------------------------------------------------------------------

    def read_jobs(
        self, job_keys: Sequence[str], fields: Sequence[str] = ALL_FIELDS
    ) -> list[JobRecord | None]:
        """Read jobs with their states; None for one that is not there."""
        records: list[JobRecord | None] = []
        for some in _slices(job_keys, PIECE):
            reply = self._call("read_jobs", _queues_of(some[:1]), jobs=some, fields=fields)
            for key, found in zip(some, reply["jobs"], strict=True):
                records.append(
                    _record(key, found[0], dict(zip(fields, found[1], strict=True))) if found else None
                )
        return records

    def read_flow(self, flow: str) -> dict[str, str]:
        """Return a flow's record, empty if there is none."""
        with server_errors():
            found: Any = self.client.hgetall(keys.own(self.prefix, "flow", flow))
        return {codec.text(name): codec.text(value) for name, value in found.items()}

    def read_flow_end(self, flow: str) -> tuple[str | None, str | None]:
        """Return how a flow ended (``completed``, ``failed``, ``cancelled`` or None) and the key of its first failure.

        A cancelled one ended as ``cancelled``. Raises `JobMissing` for a flow that is not (or no longer) on
        the server: it will not end.
        """
        with server_errors():
            found: Any = self.client.hmget(keys.own(self.prefix, "flow", flow), "ended", "cause", "root")
        ended, cause, root = map(codec.text_or_none, found)
        if root is None:
            raise errors.JobMissing("the flow is not on this server any more; its data were removed")
        return ended, cause

    def read_progress(self, flow: str) -> FlowCounts:
        """Return how many jobs of the whole tree are in which state; one small read whatever its size.

        A stage of many-row jobs is counted in rows.
        """
        with server_errors():
            found: Any = self.client.hgetall(keys.own(self.prefix, "counts", flow))
        return many_rows.counts_of({codec.text(field): codec.text(count) for field, count in found.items()})

    def read_flows(self, page: int) -> Iterator[tuple[str, int]]:
        """Yield the flows that flownb stored and when (ms), the newest first, reading so many at a time."""
        start = 0
        while True:
            with server_errors():
                found: Any = self.client.zrange(
                    keys.own(self.prefix, "flows"), start, start + page - 1, desc=True, withscores=True
                )
            yield from ((codec.text(flow), int(created)) for flow, created in found)
            start += page
            if len(found) < page:
                return

    def name_flow(self, name: str, flow: str) -> None:
        """Let a name mean this flow from now on."""
        with server_errors():
            self.client.hset(keys.own(self.prefix, "names"), name, flow)

    def find_flow(self, name: str) -> str | None:
        """Return the id of the newest flow of this name."""
        with server_errors():
            found: Any = self.client.hget(keys.own(self.prefix, "names"), name)
        return codec.text_or_none(found)

    def read_children(self, parent_key: str) -> list[codec.Children]:
        """Return a parent's declared children in order, in pieces."""
        return self.read_children_of([parent_key])[0]

    def read_children_of(self, parent_keys: Sequence[str]) -> list[list[codec.Children]]:
        """Return the declared children of many parents, each in pieces."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for key in parent_keys:
                pipe.hgetall(keys.own(self.prefix, "children", key))
            found = pipe.execute()
        return [_pieces(pieces) for pieces in found]

    def read_returnvalues(self, job_keys: Sequence[str]) -> list[str | None]:
        """Return the JSON texts that completed jobs returned, None for any other job."""
        values: list[str | None] = []
        for some in _slices(job_keys, MOST_JOBS_A_CALL):
            with server_errors(), self.client.pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hget(key, "returnvalue")
                values += map(codec.text_or_none, pipe.execute())
        return values

    def read_part(self, job_key: str) -> str | None:
        """Return what a many-row job has so far, None if it has nothing."""
        with server_errors():
            found: Any = self.client.hget(job_key, "part")
        return codec.text_or_none(found)

    def read_inputs(self, flow: str, digests: Sequence[str]) -> dict[str, str]:
        """Return the JSON texts of large inputs of a flow's rows, by digest."""
        with server_errors():
            return large_inputs.read(self.client, keys.own(self.prefix, "inputs", flow), digests)

    def fill_inputs(self, flow: str | None, rows: Sequence[Any], paths: Sequence[Sequence[str]]) -> None:
        """Put large inputs into the data of rows that refer to them, at these paths."""
        digests = large_inputs.digests_at(rows, paths)
        if digests:
            large_inputs.fill(rows, paths, self.read_inputs(flow or "", digests))

    def read_row_ids(self, name: str) -> dict[str, bytes]:
        """Return which rows the many-row jobs of a batch's name hold: packed ids, by the key of a job that is there."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            found: Any = self.client.hgetall(keys.own(self.prefix, "rows", name))
            for key in found:
                pipe.exists(key)
            there = pipe.execute()
        return {
            codec.text(key): ids for (key, ids), exists in zip(found.items(), there, strict=True) if exists
        }

    def write_fields(self, fields: Iterable[tuple[str, str, Any]]) -> None:
        """Write fields ``(key, field, value)`` of flownb's own hashes."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for key, field, value in fields:
                pipe.hset(key, field, value)
            pipe.execute()

    def read_run_time(self, queue: str, name: str) -> float | None:
        """Return how many seconds a row took when such jobs were last run, None if that is not known."""
        with server_errors():
            found: Any = self.client.hget(keys.own(self.prefix, "run-times"), f"{queue}/{name}")
        return None if found is None else float(found)

    def note_run_time(self, queue: str, name: str, seconds: float) -> None:
        """Remember how many seconds a row took."""
        with server_errors():
            self.client.hset(keys.own(self.prefix, "run-times"), f"{queue}/{name}", f"{seconds:.3g}")

    def read_groups(self, parent_keys: Sequence[str]) -> list[list[dict[str, Any]] | None]:
        """Return the summary of each parent's children: groups of one queue and one name template."""
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for key in parent_keys:
                pipe.hmget(keys.own(self.prefix, "children", key), "groups", "grown")
            found = pipe.execute()
        groups = [codec.decode(text) if text is not None else None for text, _ in found]
        for key, some, (_, grown) in zip(parent_keys, groups, found, strict=True):
            if some and grown:
                self.note_grown(key, some)
        return groups

    def read_logs(self, job_key: str) -> list[str]:
        with server_errors():
            found: Any = self.client.lrange(keys.part(job_key, "logs"), 0, -1)
        return [codec.text(row) for row in found]

    def read_ids(self, base: str, state: str, start: int, end: int) -> list[str]:
        """Return job ids of one state, those to run next (or finished last) first."""
        with server_errors():
            if state == "waiting":
                return self._read_line(base, start, end)
            if state == "active":
                rows: Any = self.client.lrange(keys.part(base, "active"), -end - 1, -start - 1)
                return [id for id in map(codec.text, reversed(rows)) if not _is_marker(id)]
            newest_first = state in ("completed", "failed")
            found: Any = self.client.zrange(keys.part(base, state), start, end, desc=newest_first)
        return [codec.text(id) for id in found]

    def _read_line(self, base: str, start: int, end: int) -> list[str]:
        """The line of a queue: of one that BullMQ 5 paused, also what it put aside to `paused`."""
        waiting: Any = self.client.llen(keys.part(base, "wait"))
        parts = [("wait", start, min(end, waiting - 1)), ("paused", max(start - waiting, 0), end - waiting)]
        ids: list[str] = []
        for name, first, last in parts:
            if last >= first:
                rows: Any = self.client.lrange(keys.part(base, name), -last - 1, -first - 1)
                ids += [id for id in map(codec.text, reversed(rows)) if not _is_marker(id)]
        return ids

    def count_states(self, base: str) -> dict[str, int]:
        """Return how many jobs of a queue are in which state."""
        lists, ranked = ("wait", "paused", "active"), STATES_BY_RANK
        with server_errors(), self.client.pipeline(transaction=False) as pipe:
            for name in lists:
                pipe.llen(keys.part(base, name))
                pipe.lindex(keys.part(base, name), 0)
                pipe.lindex(keys.part(base, name), -1)
            for name in ranked:
                pipe.zcard(keys.part(base, name))
            found = pipe.execute()
        wait, paused, active = (_jobs_in_list(*found[i : i + 3]) for i in (0, 3, 6))
        return {"waiting": wait + paused, "active": active, **dict(zip(ranked, found[9:], strict=True))}

    def is_paused(self, base: str) -> bool:
        with server_errors():
            return bool(self.client.hexists(keys.part(base, "meta"), "paused"))

    def read_served(self) -> set[str] | None:
        """Return the queues some worker listens to (by its connection's name), None if we may not know."""
        import redis.exceptions

        try:
            clients: Any = self.client.client_list()
            now: Any = self.client.time()
            ours: Any = self.client.zrange(
                keys.own(self.prefix, "served"), now[0] * 1000, "+inf", byscore=True
            )
        except redis.exceptions.RedisError:
            return None
        served = {codec.text(base) for base in ours}
        for client in clients:  # BullMQ's workers name their connection prefix:base64(queue)[:w:name]
            if base := keys.base_of_sign(str(client.get("name", ""))):
                served.add(base)
        return served

    def read_active(self, base: str) -> list[tuple[str, str | None]]:
        """Return the running jobs' ids with their lock tokens."""
        with server_errors():
            found: Any = self.client.lrange(keys.part(base, "active"), 0, -1)
            ids = [codec.text(id) for id in found]
            locks: list[Any] = []
            for some in _slices(ids, MOST_JOBS_A_CALL):
                part: Any = self.client.mget([keys.part(keys.job_in(base, id), "lock") for id in some])
                locks += part
        return [(id, codec.text_or_none(lock)) for id, lock in zip(ids, locks, strict=True)]

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> dict[str, Any]:
        made = load(script)
        if "now" in made.args:
            args["now"] = None
        if script not in without_scripts.READS:
            versions.refuse_newer(self.client, queues)
        with server_errors():
            return self._ask(made, queues, args) if self.read_only else made(self.client, queues, **args)

    def _ask(self, script: Script, queues: Sequence[str], args: dict[str, Any]) -> dict[str, Any]:
        """Have a script read where the server promises that it only reads; else ask in plain commands."""
        from redis.exceptions import NoPermissionError, ResponseError

        if script.name not in without_scripts.READS:
            raise errors.ReadOnly("this connection only reads: connect without read_only=True to write")
        if self._may_run_scripts:
            try:
                return script.ask(self.client, queues, **args)
            except ResponseError as error:
                if not isinstance(error, NoPermissionError) and "unknown command" not in str(error).lower():
                    raise
                self._may_run_scripts = False
        found: dict[str, Any] = without_scripts.READS[script.name](self.client, queues, **args)
        return found


def _is_marker(id: str) -> bool:
    """BullMQ 4 kept markers in its lists, at their ends."""
    return id.startswith("0:")


def _jobs_in_list(length: int, first: Any, last: Any) -> int:
    ends = [id for id in (first, last)[: min(length, 2)] if id is not None]
    return length - sum(_is_marker(codec.text(id)) for id in ends)


def _pieces(found: Mapping[bytes, bytes]) -> list[codec.Children]:
    declared = sorted((int(field), piece) for field, piece in found.items() if field.isdigit())
    added = sorted((int(field[4:]), piece) for field, piece in found.items() if field.startswith(b"run:"))
    pieces = [codec.unpack_children(piece) for _, piece in declared]
    return pieces + [codec.unpack_children(piece, added=True) for _, piece in added]


def _queues_of(job_keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(keys.base_of(key) for key in job_keys))


def _slices(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _check_size(what: str, items: Sequence[Any]) -> None:
    """Refuse what Lua could only unpack in part: scripts that fail midway keep what they wrote."""
    if len(items) > MOST_JOBS_A_CALL:
        raise ValueError(f"{len(items):,} {what} in one call, at most {MOST_JOBS_A_CALL:,}")


def _record(key: str, state: str | None, fields: Mapping[str, Any]) -> JobRecord:
    _, queue, id = keys.split(key)
    made: dict[str, Any] = {}
    for field, value in fields.items():
        if value is False or value is None:
            continue
        if field in _NUMBERS:
            made[_NUMBERS[field]] = _number(value)
        else:
            made[_TEXTS[field]] = value
    made.setdefault("name", "")
    return JobRecord(key=key, id=id, queue=queue, state=state, **made)


def _number(text: Any) -> int:
    """Read a number as BullMQ's clients do, which store what their caller gave: 1.5, nan, a date."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return 0


def _taken(base: str, id: str, fields: Sequence[Any], token: str) -> Taken:
    """Make a record of what ``lua/lib/fetch.lua`` answers; the order of `fields` is that of its FIELDS."""
    name, data, opts, timestamp, priority, atm, ats, defa = fields[:8]
    parent_key, parent, stacktrace, flow, bind = fields[8:]
    record = JobRecord(
        key=keys.job_in(base, id),
        id=id,
        queue=keys.queue_of_base(base),
        name=name,
        state="active",
        data=data,
        opts=opts or "{}",
        timestamp=_number(timestamp or 0),
        priority=_number(priority or 0),
        attempts_made=_number(atm or 0),
        attempts_started=ats,
        stacktrace=stacktrace or "[]",
        parent_key=parent_key or None,
        parent=parent or None,
        flow=flow or None,
        bind=bind or None,
    )
    return Taken(record=record, base=base, token=token, deferred=defa or None)
