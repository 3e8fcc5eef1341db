"""What is wrong with the stored books: jobs that would get lost, run twice or wait for ever, flows that tell wrong.

All is read in pieces while workers run, so what looks broken at first is only suspected: it is told when a second
look, a while later and at that job alone, finds the same. Nothing is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from flownb.diagnosis import reason_words
from flownb.diagnosis.recount import recount
from flownb.errors import ServerRefused
from flownb.state.shape import Declared
from flownb.wire import keys
from flownb.wire.records import CANCELLED, STATES
from flownb.wire.store import Store
from flownb.wire.store.job_facts import ENDS, JobFacts
from flownb.wire.store.parent_links import ParentLink

_PAUSE = 1.0  # seconds before what is suspected is looked at again: removals take that long, and retries of many jobs
_NAMED = 3  # children named in a line
_LINES = ("wait", "paused", "prioritized", "delayed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: str
    key: str  #: of the job, of the queue, or the flow's id
    job: str  #: in words
    what: str
    remedy: str = ""  #: what a mend does; empty: a person has to decide
    advice: str = ""  #: what a person does
    children: tuple[str, ...] = ()  #: that the mend is about

    @property
    def same(self) -> tuple[str, str]:
        return self.rule, self.key


@dataclass
class Checkup:
    """A look at queues, at those that their jobs' parents and children are in, and at flows."""

    store: Store
    # queue -> its jobs that have not ended -> where each stands
    _lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _found: list[Finding] = field(default_factory=list)
    _cancelled: dict[str, bool] = field(default_factory=dict)

    def findings(self, bases: Iterable[str], flows: Sequence[str]) -> list[Finding]:
        """Return what is wrong."""
        for base in bases:
            self._know(base)
        jobs = dict.fromkeys(job for flow in flows for job in self._astray_in(flow))
        visited = 0
        while visited < len(self._lines):  # more are found on the way
            base = list(self._lines)[visited]
            visited += 1
            jobs |= dict.fromkeys(self._suspects_in(base))
        suspected = {finding.same for flow in flows for finding in self.of_flow(flow)}
        if jobs or suspected:
            time.sleep(_PAUSE)
            self._cancelled.clear()
        for job in filter(self._is_legible, jobs):
            self._found += self.of_job(job)
        for flow in dict.fromkeys(flow for _, flow in suspected):
            self._found += [finding for finding in self.of_flow(flow) if finding.same in suspected]
        return self._found

    def _is_legible(self, job: str) -> bool:
        """Say whether a job's key tells its queue: not where its id has a colon, as other programs may have it."""
        return keys.is_under(job, self.store.prefix) and keys.short(job, self.store.prefix).count(":") == 1

    # ---- the first look ------------------------------------------------------------------------------------

    def _know(self, base: str) -> None:
        """Read where a queue's jobs stand, once; what is wrong with the queue itself is told at once."""
        if base in self._known or not self._is_legible(keys.part(base, "id")):
            return
        self._known.add(base)
        mistyped = self.store.queue_facts.read_mistyped(base)
        self._found += self.of_queue(base, mistyped)
        if not mistyped:
            self._lines[base] = self.store.job_facts.read_lists(base)

    def _places_of(self, job: str) -> Sequence[str]:
        base = keys.base_of(job)
        self._know(base)
        return self._lines.get(base, {}).get(job, ())

    def _suspects_in(self, base: str) -> Iterator[str]:
        yield from self._suspects(list(self._lines[base]))
        for page in self.store.job_facts.read_ended(base):
            yield from self._suspects(page)

    def _suspects(self, jobs: Sequence[str]) -> Iterator[str]:
        found = list(self.store.job_facts.read(jobs, self._places_of))
        edges = self.store.parent_links.read_parents(found)
        pairs = [(chart, parent) for chart, above in zip(found, edges, strict=True) for parent in above]
        ties = self.store.parent_links.read([(chart.key, parent) for chart, parent in pairs])
        tied = [(chart, tie) for (chart, _), tie in zip(pairs, ties, strict=True)]
        for _, parent in pairs:
            self._know(keys.base_of(parent))
        for chart in found:
            if any(self._of_place(chart)):
                yield chart.key
            elif self._waits(chart):
                awaited = self.store.parent_links.read_awaited(chart.key, self._places_of)
                yield from awaited.astray
                if awaited.settled or awaited.sealed:
                    yield chart.key
        yield from (chart.key for chart, tie in tied if any(self._of_tie(chart, tie)))
        yield from (chart.key for chart, _ in self.store.parent_links.read_differing(_with_values(tied)))

    def _astray_in(self, flow: str) -> Iterator[str]:
        """Jobs of a flow that stand nowhere: no queue leads to them."""
        root = self.store.flows.read(flow).get("root")
        declared = Declared(self.store, root).jobs() if root else ()
        jobs = [job for job in declared if not self._places_of(job)]
        for chart in self.store.job_facts.read(jobs, self._places_of):
            if chart.whole and not chart.places:
                yield chart.key

    # ---- the second ----------------------------------------------------------------------------------------

    def of_job(self, job: str) -> list[Finding]:
        """Return what is wrong with one job, which is looked at until it does not move."""
        still = self.store.parent_links.read_stable(job)
        if still is None:
            return []
        chart, ties = still
        found = list(self._of_place(chart))
        if not found and self._waits(chart):
            found += self._of_children(chart)
        for tie in ties:
            found += self._of_tie(chart, tie)
        unlike = self.store.parent_links.read_differing(_with_values([(chart, tie) for tie in ties]))
        return found + [self._unlike(chart, tie) for _, tie in unlike]

    def again(self, finding: Finding) -> Iterable[Finding]:
        """Look again at that of which a finding tells."""
        if finding.rule == "check":
            return self.of_queue(finding.key)
        return self.of_flow(finding.key) if finding.rule in ("over", "counts") else self.of_job(finding.key)

    # ---- what is wrong with a queue, a job, a job and its parent -------------------------------------------

    def of_queue(self, base: str, mistyped: dict[str, str] | None = None) -> Iterator[Finding]:
        """Yield what is wrong with a queue's own keys."""
        if mistyped is None:
            mistyped = self.store.queue_facts.read_mistyped(base)
        for name, kind in mistyped.items():
            key = keys.part(base, name)
            yield self._finding(
                "type",
                base,
                f"its key {key} is a {kind}, so no worker can use the queue, and it was not looked into",
                advice="rename that key out of the way, then run this again",
            )
        if self.store.queue_facts.has_endless_check(base):
            yield self._finding(
                "check",
                base,
                "no worker looks for jobs whose worker died: the mark of the last look does not run out",
                remedy="let workers look again",
            )

    def _of_place(self, chart: JobFacts) -> Iterator[Finding]:
        places = " and ".join(chart.places)
        if not chart.readable:
            what = "one of its keys has a type that no job's key has"
            yield self._finding("type", chart.key, what, advice="rename that key out of the way")
        elif not chart.stored:
            if chart.places:
                what = f"its id stands in {places}, and its data are gone"
                yield self._finding("gone", chart.key, what, remedy="take the id out")
        elif not chart.whole:
            what = f"its data are gone in part, its id stands in {places or 'no line'}"
            advice = "no worker runs it; set the server's maxmemory-policy to noeviction, and add it again"
            yield self._finding("part", chart.key, what, advice=advice)
        elif not chart.places:
            what = "it stands nowhere in its queue, so no worker ever takes it"
            if chart.ended:
                what = "it has ended, and stands nowhere in its queue"
            yield self._finding("astray", chart.key, what, remedy="put it where it belongs")
        elif chart.place is None:
            twice = len(set(chart.places)) == 1
            what = f"it stands {'more than once ' if twice else ''}in {chart.places[0] if twice else places}"
            yield self._finding("twice", chart.key, what, remedy="leave it where it belongs")
        elif chart.ended != (chart.place in ENDS):
            what = f"it stands in {places}, and {'has ended' if chart.ended else 'has not ended'} by its own fields"
            queue, id = self._queue_of(chart.key), keys.split(chart.key)[2]
            advice = f"see what it came to, then take it away: Queue({queue!r}).get_job({id!r}).remove()"
            yield self._finding("end", chart.key, what, advice=advice)
        elif (
            chart.place in _LINES
            and chart.pending
            and not (chart.started or chart.deferred or chart.forgiven)
            and not self._is_cancelled(chart)
        ):
            what = f"it stands in {chart.place} before its children have ended"
            yield self._finding("early", chart.key, what, remedy="let it wait for them")
        elif self._waits(chart) and not chart.pending:
            what = "it waits for children, and none is left that has not ended"
            yield self._finding("none", chart.key, what, remedy="let it go on")
        if chart.endless:
            what = "its lock does not run out: when its worker dies, nobody takes it over"
            yield self._finding("lock", chart.key, what, remedy="let it run out, unless a worker renews it")
        if chart.whole and not chart.linked:
            what = f"its fields name different parents: {chart.parent} is in parentKey"
            yield self._finding(
                "link", chart.key, what, advice="add its flow again: which is right cannot be told"
            )

    def _of_tie(self, chart: JobFacts, tie: ParentLink) -> Iterator[Finding]:
        """Flownb's own flows alone: what BullMQ's other programs do with a job of theirs is their own."""
        if not (chart.flow and chart.whole and tie.there) or tie.awaited or tie.value or tie.failed:
            return
        parent = keys.short(tie.parent, self.store.prefix)
        if not chart.ended and tie.waiting:
            what = f"{parent} waits for its other children, and not for this one"
            yield self._finding(
                "lost", chart.key, what, remedy="let it wait for this one too", children=(tie.parent,)
            )
        elif chart.place == "completed":
            what = f"{parent} was not given its value"
            if tie.over:
                yield self._finding("value", chart.key, f"{what}, and has ended", advice=_AGAIN)
            else:
                yield self._finding(
                    "value", chart.key, what, remedy="give it the value", children=(tie.parent,)
                )

    def _unlike(self, chart: JobFacts, tie: ParentLink) -> Finding:
        what = f"{keys.short(tie.parent, self.store.prefix)} holds another value than the one it returned"
        return self._finding("unlike", chart.key, what, advice=_AGAIN)

    # ---- parents that wait ---------------------------------------------------------------------------------

    def _waits(self, chart: JobFacts) -> bool:
        return chart.place == "waiting-children" and not self._is_cancelled(chart)

    def _of_children(self, chart: JobFacts) -> Iterator[Finding]:
        awaited = self.store.parent_links.read_awaited(chart.key, lambda job: ())
        shared, served = self.store.shared.read_unnotified(list(awaited.settled))
        # Workers of flownb's tell further parents of a shared job how another program ended it.
        settled = {child: end for child, end in awaited.settled.items() if not (served and child in shared)}
        gone, told, unforgiven = list[str](), list[str](), list[str]()
        known = [end for end in settled.values() if end is not None]
        edges = dict(
            zip([end.key for end in known], self.store.parent_links.read_parents(known), strict=True)
        )
        for child, end in settled.items():
            if end is None or (end.why == "missing" and chart.key not in edges[child]):
                (told if child in shared else gone).append(child)
            elif end.place == "completed" or self._is_told(chart.key, end, edges[child]):
                told.append(child)
            else:
                unforgiven.append(child)
        if gone:
            what = f"it waits for {self._named(gone)}, which {'is' if len(gone) == 1 else 'are'} gone"
            them = "it" if len(gone) == 1 else "them"
            remedy = f"let it go on without {them}, as if a person had removed {them}"
            yield self._finding("orphan", chart.key, what, remedy=remedy, children=tuple(gone))
        if told:
            what = f"it waits for {self._named(told)}, which {'has' if len(told) == 1 else 'have'} ended"
            yield self._finding(
                "untold", chart.key, what, remedy="tell it how that ended", children=tuple(told)
            )
        if unforgiven:
            queue, id = self._queue_of(unforgiven[0]), keys.split(unforgiven[0])[2]
            what = f"it waits for ever for {self._named(unforgiven)}, which failed without a policy"
            job = f"Queue({queue!r}).get_job({id!r})"
            advice = f"run it again with {job}.retry(), or let its parent go on without it: {job}.remove()"
            yield self._finding("unforgiven", chart.key, what, advice=advice)
        if awaited.sealed and chart.flow:
            record = self.store.flows.read(chart.flow)
            if "stored" in record:
                advice = f"take it up again: attach({record['name']!r}).retry()"
                what = "it waits for a retry of many jobs that was cut short"
                yield self._finding("seal", chart.key, what, advice=advice)

    def _is_told(self, parent: str, end: JobFacts, parents: Sequence[str]) -> bool:
        """Does the job's failure mean something for this parent?"""
        if end.parent == parent:
            return bool(end.policy)
        return parent in parents  # a further one, which flownb stored with a policy

    def _named(self, jobs: Sequence[str]) -> str:
        names = ", ".join(reason_words.plain(keys.short(job, self.store.prefix)) for job in jobs[:_NAMED])
        more = f" and {len(jobs) - _NAMED:,} more" if len(jobs) > _NAMED else ""
        return names + more

    # ---- flows ---------------------------------------------------------------------------------------------

    def of_flow(self, flow: str) -> list[Finding]:
        """Return what is wrong with a flow's own record and counts."""
        record = self.store.flows.read(flow)
        if not record.keys() >= {"name", "root", "created"}:
            what = f"its record is gone{' in part' if record else ''}, so no handle finds it"
            advice = "set the server's maxmemory-policy to noeviction, and add the flow again"
            return [self._finding("record", flow, what, job=record.get("name", flow), advice=advice)]
        name, found = record["name"], list[Finding]()
        root = next(self.store.job_facts.read([record["root"]]))
        if not root.stored:
            what = "its root is gone, which another program removed"
            advice = f"remove what is left of it: attach({name!r}).remove()"
            return [self._finding("rootless", flow, what, job=name, advice=advice)]
        if root.whole and record.get("ended") in ENDS and not root.ended:
            what = f"its record says that it has {record['ended']}, and its root has not ended"
            found.append(self._finding("over", flow, what, job=name, remedy="take that back"))
        counted = None
        if "stored" in record:
            with suppress(ServerRefused):  # a key of it has another type, which is told of beside
                counted = recount(self.store, flow, record["root"])
        if counted is not None and not counted.agrees:
            said = f"say {_in_words(counted.was)}" if counted.was else "are gone"
            what = f"its counts {said}; its jobs are {_in_words(counted.counts)}"
            found.append(self._finding("counts", flow, what, job=name, remedy="count them again"))
        return found

    # ---- words ---------------------------------------------------------------------------------------------

    def _is_cancelled(self, chart: JobFacts) -> bool:
        """Jobs of a cancelled flow go one after the other, those of one that is being removed too."""
        if chart.flow is None:
            return False
        if chart.flow not in self._cancelled:
            ended = self.store.flows.read_end_by_job(chart.flow)
            self._cancelled[chart.flow] = ended == CANCELLED
        return self._cancelled[chart.flow]

    def _queue_of(self, job: str) -> str:
        return keys.short(keys.base_of(job), self.store.prefix)

    def _finding(
        self,
        rule: str,
        key: str,
        what: str,
        *,
        job: str | None = None,
        remedy: str = "",
        advice: str = "",
        children: tuple[str, ...] = (),
    ) -> Finding:
        return Finding(
            rule=rule,
            key=key,
            job=reason_words.plain(job or keys.short(key, self.store.prefix)),
            what=reason_words.plain(what),
            remedy=remedy,
            advice=advice,
            children=children,
        )


_AGAIN = "add the flow again, with if_exists='rerun' where its jobs have ids of yours"


def _in_words(counts: dict[str, int]) -> str:
    states: Counter[str] = Counter()
    for place, n in counts.items():
        states[place.partition("@")[0]] += n
    return ", ".join(f"{states[state]:,} {state}" for state in STATES if states[state])


def _with_values(tied: Iterable[tuple[JobFacts, ParentLink]]) -> list[tuple[JobFacts, ParentLink]]:
    return [(chart, tie) for chart, tie in tied if chart.flow and chart.place == "completed" and tie.value]
