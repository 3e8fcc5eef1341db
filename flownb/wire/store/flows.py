"""Flows that flownb stored: records, names, counts and ends; pause, resume and cancel them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flownb import errors
from flownb.wire import codec, keys, many_rows
from flownb.wire.amounts import Amounts, flat
from flownb.wire.records import FlowCounts
from flownb.wire.server_errors import server_errors
from flownb.wire.store.job_records import number
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.server import Server


class UsedUp(NamedTuple):
    """A budget that is used up, in parts of its unit."""

    unit: str
    spent: int
    budget: int


class FlowFacts(NamedTuple):
    """What the server keeps of a flow beside its jobs, as far as it can be read."""

    record: dict[str, str]  #: empty where there is none
    counts: dict[str, str]  #: as they are stored; see `many_rows.counts_of`
    newest: str | None  #: the flow that has its name by now


_END_FIELDS = ("ended", "finished", "cause", "root")


class Flows:
    """Flows by their ids."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # ---- records and names --------------------------------------------------------------------------

    def read(self, flow: str, *fields: str) -> dict[str, str]:
        """Return a flow's record, or some of its fields; empty if there is none."""
        client, key = self._server.client, self._server.key("flow", flow)
        with server_errors(key):
            found: Any = (
                dict(zip(fields, client.hmget(key, fields), strict=True)) if fields else client.hgetall(key)
            )
        return {codec.text(name): codec.text(value) for name, value in found.items() if value is not None}

    def read_many(self, flows: Sequence[str], fields: Sequence[str]) -> list[FlowFacts]:
        """Read flows' names, further fields of their records, and their counts."""
        facts: list[FlowFacts] = []
        prefix, names = self._server.prefix, ("name", *fields)
        for some in in_pieces(flows):
            base = keys.base(prefix, keys.BATCH_QUEUE)
            reply = self._server.call("read_flows", [base], prefix=prefix, flows=some, fields=fields)
            for values, counts, newest in reply["flows"]:
                record = {name: value for name, value in zip(names, values, strict=True) if value}
                flat = counts or ()
                facts.append(FlowFacts(record, dict(zip(flat[::2], flat[1::2], strict=True)), newest or None))
        return facts

    def read_sizes(self, flows: Sequence[str], jobs: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return how many bytes of the server's memory flows' own keys take, and jobs; 0 where it does not tell."""
        prefix, of_flows, of_jobs = self._server.prefix, list[int](), list[int]()
        base = keys.base(prefix, keys.BATCH_QUEUE)
        for some in in_pieces(flows):
            found = self._server.call("read_sizes", [base], prefix=prefix, flows=some, jobs=[])
            of_flows += found["flows"]
        for some in in_pieces(jobs):
            found = self._server.call("read_sizes", [base], prefix=prefix, flows=[], jobs=some)
            of_jobs += found["jobs"]
        return of_flows, of_jobs

    def write_fields(self, fields: Iterable[tuple[str, str, Any]]) -> None:
        """Write fields ``(key, field, value)`` of flownb's own hashes."""
        with self._server.pipeline() as pipe:
            for key, field, value in fields:
                pipe.hset(key, field, value)
            pipe.execute()

    def pages(self, size: int) -> Iterator[tuple[str, int]]:
        """Yield the stored flows and when each was (ms), the newest first, reading `size` at a time."""
        return ((flow, created) for flow, created in self._index(size) if keys.is_text(flow))

    def is_listed(self, flow: str) -> bool:
        """Say whether a flow is in the index of flows."""
        index = self._server.key("flows")
        with server_errors(index):
            return self._server.client.zscore(index, flow) is not None

    def read_illegible(self, size: int) -> list[str]:
        """Return the entries in the index of flows that are no text, and so no flows."""
        return [flow for flow, _ in self._index(size) if not keys.is_text(flow)]

    def _index(self, size: int) -> Iterator[tuple[str, int]]:
        start, index, before = 0, self._server.key("flows"), set[str]()
        while True:
            with server_errors(index):
                found: Any = self._server.client.zrange(
                    index, start, start + size - 1, desc=True, withscores=True
                )
            page = {codec.text(flow): number(created) for flow, created in found}
            # Flows that are stored meanwhile push some of the page before into this one.
            yield from ((flow, created) for flow, created in page.items() if flow not in before)
            start, before = start + size, set(page)
            if len(found) < size:
                return

    def set_name(self, name: str, flow: str) -> None:
        """Let a name mean this flow from now on; the flow notes the one before."""
        former = self.find(name)
        if former == flow:
            return
        with server_errors():
            if former is not None:
                self._server.client.hset(self._server.key("flow", flow), "former", former)
            self._server.client.hset(self._server.key("names"), name, flow)

    def find(self, name: str) -> str | None:
        """Return the id of the newest flow of this name."""
        with server_errors():
            found: Any = self._server.client.hget(self._server.key("names"), name)
        return codec.text_or_none(found)

    def formers(self, flow: str) -> Iterator[str]:
        """Yield the flows that had this one's name before, the newest first."""
        seen = {flow}
        while (former := self.read(flow, "former").get("former")) and former not in seen:
            seen.add(former)
            yield (flow := former)

    # ---- counts and ends ----------------------------------------------------------------------------

    def read_counts(self, flow: str) -> FlowCounts:
        """Return how many jobs of the whole tree are in which state; one small read whatever its size.

        A stage of many-row jobs is counted in rows.
        """
        return many_rows.counts_of(self._read_count_fields(flow))

    def read_job_counts(self, flow: str) -> dict[str, int]:
        """Return how many jobs of a flow are where, by its own counts: ``state@queue key`` -> jobs."""
        return many_rows.jobs_counted(self._read_count_fields(flow))

    def _read_count_fields(self, flow: str) -> dict[str, str]:
        counts = self._server.key("counts", flow)
        with server_errors(counts):
            found: Any = self._server.client.hgetall(counts)
        return {codec.text(field): codec.text(count) for field, count in found.items()}

    def read_queues(self, flow: str) -> list[str]:
        """Return the qualified names of the queues in which a flow has, or had, jobs."""
        counts = self._server.key("counts", flow)
        with server_errors(counts):
            found: Any = self._server.client.hkeys(counts)
        bases = dict.fromkeys(codec.text(field).partition("@")[2] for field in found)
        return [base for base in bases if base]  # `paused@` names none

    def read_end(self, flow: str) -> tuple[str | None, str | None]:
        """Return how a flow's record says that it ended, and the key of its first failure; see `read_end_fields`."""
        record = self.read_end_fields(flow)
        return record.get("ended"), record.get("cause")

    def read_end_fields(self, flow: str) -> dict[str, str]:
        """Return what a flow's record says of its end: ended, finished, cause, as far as they are written.

        Raises `JobMissing` for a flow that is not (or no longer) on
        the server: it will not end.
        """
        with server_errors():
            found: Any = self._server.client.hmget(self._server.key("flow", flow), *_END_FIELDS)
        return _end_in(found)

    def read_both_ends(self, flow: str, root: str) -> tuple[dict[str, str], str | None]:
        """Return, in one read, `read_end_fields` and when the root ended (ms), as its own hash has it."""
        with self._server.pipeline() as pipe:
            pipe.hmget(self._server.key("flow", flow), *_END_FIELDS)
            pipe.hget(root, "finishedOn")
            found, finished = pipe.execute()
        return _end_in(found), codec.text_or_none(finished)

    def read_end_by_job(self, named: str) -> str | None:
        """Return how the flow that a job's hash names has ended; None if it has not, or is gone."""
        home, id = keys.home_and_flow(named)
        with server_errors():
            found: Any = self._server.client.hget(keys.own(home or self._server.prefix, "flow", id), "ended")
        return codec.text_or_none(found)

    def read_mistyped(self, flow: str) -> dict[str, str]:
        """Return those of a flow's own keys, record and counts, that are no hashes, and what they are."""
        own = [self._server.key(kind, flow) for kind in ("flow", "counts")]
        with self._server.pipeline() as pipe:
            for key in own:
                pipe.type(key)
            kinds = map(codec.text, pipe.execute())
        return {key: kind for key, kind in zip(own, kinds, strict=True) if kind not in ("hash", "none")}

    # ---- changes ------------------------------------------------------------------------------------

    def pause(self, base: str, flow: str, why: str | None = None) -> None:
        """Let no worker start a job of the flow; `base` is its root's queue. `why` is told to who asks."""
        self._server.call("pause_flow", [base], flow=flow, why=why)

    def resume(self, bases: Sequence[str], flow: str) -> None:
        """Let workers start jobs of the flow again; `bases` are the queues of its jobs."""
        self._restore(bases, flow, lift=True)

    def _restore(self, bases: Sequence[str], flow: str, *, lift: bool) -> None:
        """Put jobs that were set aside back in line; `lift` ends the pause first."""
        for base in bases:
            start: int | None = 0
            while start is not None:
                reply = self._server.call("resume_flow", [base], flow=flow, start=start, lift=lift)
                start, lift = reply.get("after"), False

    def set_brakes(
        self,
        bases: Sequence[str],
        flow: str,
        *,
        budget: Amounts,
        most: str | None = None,
        percent: str | None = None,
        rows: tuple[str, str] | None = None,
        more_rows: Mapping[str, str] | None = None,
        lift: bool = False,
        anew: bool = False,
    ) -> UsedUp | None:
        """Give a batch other brakes; with `lift` it goes on, whatever has paused it. With that, or `anew`, its rows
        that end are counted anew.

        `bases` are the queues of its jobs, `rows` the rows' queue key and their name, `more_rows` what else says which
        jobs are rows. With `lift`, return a budget that is used up, and change nothing.
        """
        base, name = rows or (None, None)
        about = {
            "flow": flow,
            "base": base,
            "name": name,
            "more_rows": [part for pair in (more_rows or {}).items() for part in pair],
            "most": most,
            "percent": percent,
            "lift": lift,
            "anew": anew,
        }
        reply = self._server.call("set_brakes", bases[:1], budget=flat(budget), **about)
        if used_up := reply.get("used_up"):
            unit, spent, allowed = used_up
            return UsedUp(unit, int(spent), int(allowed))
        if lift:
            self._restore(bases, flow, lift=False)
        return None

    def read_brakes(self, flow: str) -> dict[str, str]:
        """Return a batch's brakes, as they are stored; empty where it has none."""
        return self._read_hash("brakes", flow)

    def read_pilot(self, flow: str) -> list[str]:
        """Return the keys of the jobs that a batch's pilot runs."""
        return list(self._read_hash("pilot", flow))

    def _read_hash(self, kind: str, flow: str) -> dict[str, str]:
        key = self._server.key(kind, flow)
        with server_errors(key):
            found: Any = self._server.client.hgetall(key)
        return {codec.text(name): codec.text(value) for name, value in found.items()}

    def bound(self, flow: str, most: int | None) -> None:
        """Let at most so many jobs of the flow run at a time; None: as many as there are slots."""
        record = self._server.key("flow", flow)
        with server_errors(record):
            if most is None:
                self._server.client.hdel(record, "concurrency")
            else:
                self._server.client.hset(record, "concurrency", most)

    def cancel(self, base: str, flow: str) -> str | None:
        """Let no job of the flow start any more; return how the flow has ended by now, None if it is gone."""
        ended: str | None = self._server.call("cancel_flow", [base], flow=flow).get("ended")
        return ended

    def has_cancelled_jobs(self, flow: str) -> bool:
        """Say whether the flow has jobs that nobody needs any more, which are still to be cancelled."""
        with server_errors():
            return bool(self._server.client.sismember(self._server.key("cancelled"), flow))


def _end_in(found: Sequence[bytes | None]) -> dict[str, str]:
    """Return the end that fields of a flow's record have, in the order of `_END_FIELDS`."""
    record = {name: codec.text(value) for name, value in zip(_END_FIELDS, found, strict=True) if value}
    if record.pop("root", None) is None:
        raise errors.JobMissing("the flow is not on this server any more; its data were removed")
    return record
