"""Why a flow does not end: what keeps it, job by job and queue by queue, and what mends it. Reads only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flownb.diagnosis import reason_words
from flownb.options import JobOptions
from flownb.state import tree
from flownb.state.flow_state import FlowState
from flownb.wire import codec, keys
from flownb.wire.records import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    DELAYED,
    FAILED,
    POLICIES,
    WAITING,
    WAITING_CHILDREN,
    JobRecord,
)
from flownb.wire.store import Store
from flownb.wire.store.job_records import BRIEF_FIELDS
from flownb.wire.store.queue_facts import HELD_BY_HAND, PUT_OFF_MS, PendingChildren, QueueFacts, WaitFacts

MOST_JOBS = 500  # unfinished jobs below the root that are looked at
MOST_IN_LINE = 2000  # waiting jobs of a queue among which one is searched for
LONG_RUN_MS = 60_000  # a run of which one may wonder whether it hangs
_FIELDS = (*BRIEF_FIELDS, "opts", "fl")
_OLDEST = 3
_PATIENCE = 1.0  # seconds for counting jobs that nobody counted

# In which order the reasons are told: what holds up everything, what never mends by itself, what waits for
# a person, and so on.
_WHOLE, _NEVER, _NOW, _LATER, _IN_TIME, _WELL, _REST = range(7)


class Reason(NamedTuple):
    """One thing that keeps a flow from ending, or that ended it."""

    job: str  #: the names from the root down; and how many more jobs it keeps
    why: str
    fix: str
    lasts: bool = False  #: it does not mend by itself, nor by a worker that starts


def explain(
    store: Store, flow_state: FlowState, record: Mapping[str, str], most: int = MOST_JOBS
) -> list[Reason]:
    """Return what keeps a flow from ending, the worst first; of a failed flow its root cause; else nothing.

    At most `most` unfinished jobs below the root are looked at.
    """
    if "ended" not in record:
        return _Explainer(store, flow_state, record, most).reasons()
    return [] if record["ended"] == COMPLETED else [_root_cause(store, record)]


def in_words(reasons: Sequence[Reason]) -> str:
    """Return the first reason as one line, and how many there are.

    >>> in_words([Reason("total > load", "queue 'loads' is paused", "resume it"), Reason("total", "", "")])
    "total > load: queue 'loads' is paused; resume it (1 more reason: explain() tells it)"
    """
    if not reasons:
        return "nothing keeps it from ending"
    first, more = reasons[0], len(reasons) - 1
    rest = f" ({more} more reason{'s: explain() tells them' if more > 1 else ': explain() tells it'})"
    return f"{first.job}: {first.why}; {first.fix}{rest if more else ''}"


def _root_cause(store: Store, record: Mapping[str, str]) -> Reason:
    if record["ended"] == CANCELLED:
        return Reason(
            reason_words.plain(record["name"]), "it was cancelled", "run what is left of it with retry()"
        )
    job, names = tree.root_cause(store, record.get("cause"), record["root"])
    is_batch = record.get("kind") == "batch"
    anew = "run fan_out again" if is_batch else "add the flow again"
    again = anew if is_batch else "run what failed with retry()"
    if job is None:
        return Reason(reason_words.plain(record["name"]), "the job that failed it was removed", anew)
    mend, then = {
        "timeout": ("mend what hangs, or give it a longer timeout", anew),
        "crashed": ("see whether it takes too much memory, or what it calls crashes", again),
        "stalled": ("its workers died while it ran: see whether it takes too much memory", again),
        "missing": ("set the server's maxmemory-policy to noeviction", anew),
    }.get(job.why or "", ("mend its function or its data", again))
    return Reason(
        reason_words.path(names),
        f"it failed: {reason_words.plain(tree.describe(job.failed_reason))}",
        f"{mend}, then {then}",
    )


@dataclass
class _Finding:
    """A reason, and the jobs it holds for; the first of them by `rank` is named."""

    stage: int
    rank: float
    job: str
    why: str
    fix: str
    jobs: int = 1


class _Explainer:
    """Walks down from the root through what each parent still waits for."""

    def __init__(self, store: Store, flow_state: FlowState, record: Mapping[str, str], most: int) -> None:
        self.most = most
        self.store = store
        self.flow_state = flow_state
        self.record = record
        self.now = store.server.read_time()
        self.counts = flow_state.counts(_PATIENCE)
        self.above: dict[str, str | None] = {record["root"]: None}  # job -> the parent it was reached from
        self.names: dict[str, str] = {record["root"]: record["name"]}
        self.parents: list[tuple[JobRecord, PendingChildren]] = []
        self.others: list[tuple[JobRecord, WaitFacts]] = []
        self.queues: dict[str, QueueFacts] = {}
        self.findings: dict[tuple[str, str], _Finding] = {}

    def reasons(self) -> list[Reason]:
        if problem := self.store.server.read_write_problem():
            self._find(_WHOLE, "server", "", self.record["root"], *problem)
        if self.counts.paused:
            self._find(_NOW, "held", "", self.record["root"], "the flow is paused", "resume it with resume()")
        self._walk()
        jobs = [*(job for job, _ in self.parents), *(job for job, _ in self.others)]
        self.queues = self.store.queue_facts.read(_base(job) for job in jobs)
        for job, pending in self.parents:
            self._parent(job, pending)
        lost = self._lost()
        for job, condition in self.others:
            if job.key in lost:
                queue = self._name_of_queue(job)
                why = f"it is in no line of queue {queue!r}: its id was removed by hand"
                self._find(
                    _NEVER, "lost", _base(job), job.key, why, f"mend it with doctor({queue!r}, fix=True)"
                )
            else:
                self._job(job, condition)
        self._whole_flow()
        found = sorted(self.findings.values(), key=lambda finding: finding.stage)
        return [
            Reason(
                f"{f.job} and {f.jobs - 1:,} more" if f.jobs > 1 else f.job, f.why, f.fix, f.stage == _NEVER
            )
            for f in found
        ]

    def _walk(self) -> None:
        level, left = [self.record["root"]], self.most
        while level:
            records = self.store.jobs.read(level, _FIELDS)
            found = self.store.queue_facts.read_waits(level)
            parents = []
            for key, job, condition in sorted(zip(level, records, found, strict=True), key=_age):
                if job is None or not condition.whole or job.why == "missing":
                    self._missing(key, job, condition)
                    continue
                self.names[key] = job.name
                if job.state == WAITING_CHILDREN:
                    parents.append(job)
                else:
                    self.others.append((job, condition))
            level = []
            for parent, pending in self._pending_of(parents, left):
                fresh = [key for key in pending.keys if key not in self.above][: left - len(level)]
                self.above.update(dict.fromkeys(fresh, parent.key))
                level += fresh
            left -= len(level)

    def _pending_of(self, parents: Sequence[JobRecord], left: int) -> list[tuple[JobRecord, PendingChildren]]:
        """What parents of one level wait for: each has its share of what may still be looked at."""
        if not parents:
            return []
        asked = [(job.key, job.flow or self.flow_state.flow) for job in parents]
        share = max(left // len(parents), 1)
        families = list(zip(parents, self.store.queue_facts.read_pending(asked, share), strict=True))
        self.parents += families
        return families

    # ---- findings -----------------------------------------------------------------------------------

    def _find(self, stage: int, kind: str, place: str, key: str, why: str, fix: str, rank: float = 0) -> None:
        """Note a reason; the same one for another job only counts that."""
        new = _Finding(stage, rank, self._path_to(key), why, fix)
        old = self.findings.setdefault((kind, place), new)
        if old is new:
            return
        new.jobs = old.jobs + 1
        if (new.stage, new.rank) < (old.stage, old.rank):
            self.findings[kind, place] = new
        else:
            old.jobs += 1

    def _path_to(self, key: str) -> str:
        names: list[str] = []
        step: str | None = key
        while step is not None and len(names) < 100:
            names.append(self.names.get(step) or keys.id_of(step))
            step = self.above.get(step)
        return reason_words.path(names[::-1])

    def _name_above(self, key: str) -> str:
        above = self.above.get(key)
        return repr(reason_words.plain(self.names.get(above, ""))) if above else "the flow"

    def _missing(self, key: str, job: JobRecord | None, condition: WaitFacts) -> None:
        above = self.above.get(key) or ""
        if job is not None and job.name != "?":
            self.names[key] = job.name
        if not condition.stored and not condition.queued:
            why = f"it was removed, and {self._name_above(key)} still waits for it"
            self._find(_NEVER, "removed", above, key, why, "add the flow again: nothing brings the job back")
            return
        ended = job is not None and job.state == FAILED
        told = "it was failed for that" if ended else "it will be failed for that"
        why = f"its data are missing (evicted, or deleted by hand); {told}, and {self._name_above(key)} is not told"
        fix = "set the server's maxmemory-policy to noeviction, and add the flow again"
        self._find(_NEVER, "missing", above, key, why, fix)

    def _parent(self, job: JobRecord, pending: PendingChildren) -> None:
        self._queue(job, _LATER)
        if not pending.count and not pending.sealed:
            why = "it waits for children, and has none that has not ended: its books were changed by hand"
            fix = f"mend it with doctor({self._name_of_queue(job)!r}, fix=True)"
            self._find(_NEVER, "left", job.key, job.key, why, fix)

    def _queue(self, job: JobRecord, stage: int) -> bool:
        """Say what keeps every job of this one's queue; whether anything does."""
        base, queue = _base(job), self._name_of_queue(job)
        condition = self.queues[base]
        unserved = condition.served is False and not (job.queue == keys.BATCH_QUEUE and stage == _LATER)
        if condition.paused:
            fix = f"resume it with Queue({queue!r}).resume()"
            self._find(stage, "paused", base, job.key, f"queue {queue!r} is paused", fix)
        if unserved:
            fix = f"start one: Worker({queue!r}, function), or flownb worker MODULE with its task"
            if job.queue == keys.BATCH_QUEUE:
                fix = "start any worker of flownb, or wait() for the batch"
            self._find(stage, "unserved", base, job.key, f"no worker serves queue {queue!r}", fix)
        return condition.paused or unserved

    def _lost(self) -> set[str]:
        """Jobs that nobody will take, as their queue does not know them; asked twice, as jobs move meanwhile."""
        waiting = [job.key for job, _ in self.others if job.state == WAITING]
        short = [key for key in waiting if self.queues[keys.base_of(key)].waiting <= MOST_IN_LINE]
        lost = self.store.queue_facts.read_unlisted(short)
        if lost:
            again = zip(lost, self.store.jobs.read(lost, ("name",)), strict=True)
            lost = self.store.queue_facts.read_unlisted(
                [key for key, job in again if job and job.state == WAITING]
            )
        return set(lost)

    def _name_of_queue(self, job: JobRecord) -> str:
        return keys.short(_base(job), self.store.prefix)

    def _job(self, job: JobRecord, condition: WaitFacts) -> None:
        if job.state in (COMPLETED, FAILED):
            self._ended(job)
            return
        if condition.deferred and job.state != ACTIVE:
            self._deferred(job, condition.deferred)
        if job.state == ACTIVE:
            self._active(job, condition)
        elif job.state == DELAYED and condition.due is not None and condition.due > self.now:
            self._delayed(job, condition.due)
            self._queue(job, _NOW)
        elif self._queue(job, _NOW) or self._limited(job) or condition.deferred or self.counts.paused:
            return
        else:
            queue, about = self._name_of_queue(job), self.queues[_base(job)]
            why = f"in line: {about.waiting:,} wait in queue {queue!r}, {about.active:,} run"
            self._find(
                _WELL, "line", _base(job), job.key, why, f"wait, or start another Worker({queue!r}, ...)"
            )

    def _ended(self, job: JobRecord) -> None:
        above = self.above.get(job.key)
        if above is None:
            return  # the root has ended since the walk began
        link = codec.decode_object(job.parent or "{}")
        untold = job.parent_key != above or any(link.get(word) for word in POLICIES)
        parent = self._name_above(job.key)
        if job.state == COMPLETED or untold:
            why = (
                f"it has ended ({job.state}), and {parent} was not told: its worker did not know this parent"
            )
            fix = "let only flownb's workers serve its queue, and add the flow again"
            self._find(_NEVER, "untold", above, job.key, why, fix)
            return
        reason = reason_words.plain(tree.describe(job.failed_reason))
        why = f"it failed ({reason}) without a policy, so {parent} waits for ever"
        fix = "retry the job, or add the flow again with failParentOnFailure on it"
        self._find(_NEVER, "unforgiven", above, job.key, why, fix)

    def _deferred(self, job: JobRecord, reason: str) -> None:
        if "stalled" in reason:
            died = f"{job.stalled} worker{'s' if job.stalled > 1 else ''} died with it"
            why = f"it stalled too often ({died}): the next worker fails it unrun"
            fix = "see whether it takes too much memory; it fails when a worker takes it"
        else:
            why = (
                f"it is to fail ({reason_words.plain(tree.describe(reason))}): the next worker fails it unrun"
            )
            fix = "mend the child that failed; it fails when a worker takes it"
        self._find(_IN_TIME, "deferred", job.key, job.key, why, fix)

    def _active(self, job: JobRecord, condition: WaitFacts) -> None:
        queue, about = self._name_of_queue(job), self.queues[_base(job)]
        if condition.lease_ms is None:
            why = "its worker died: it is active without a lease"
            if about.served is False:
                fix = f"start one, which puts it back: Worker({queue!r}, function)"
                self._find(
                    _NOW, "dead", _base(job), job.key, f"{why}, and no worker serves queue {queue!r}", fix
                )
                return
            when = f"in {reason_words.span(about.sweep_ms)}" if about.sweep_ms else "at any moment"
            then = "put back in the line" if condition.suspected else "suspected, and put back a sweep later,"
            self._find(
                _IN_TIME,
                "dead",
                _base(job),
                job.key,
                f"{why}; it will be {then} {when}",
                "wait: it runs again",
            )
            return
        ran = max(self.now - (job.processed_on or self.now), 0)
        options = _options(job)
        where = f" on {reason_words.plain(condition.worker)}" if condition.worker else ""
        which = f" (attempt {job.attempts_made + 1} of {options.attempts})" if options.attempts > 1 else ""
        why, fix = f"running for {reason_words.span(ran)}{where}{which}", "wait"
        if options.timeout:
            why += f"; its timeout ends the attempt in {reason_words.span(max(options.timeout - ran, 0))}"
        elif ran >= LONG_RUN_MS:
            fix = "wait; if it may hang, give it a timeout"
        self._find(_WELL, "active", _base(job), job.key, why, fix, rank=-ran)

    def _delayed(self, job: JobRecord, due: int) -> None:
        when = f"delayed until {reason_words.point(due)}, for {reason_words.span(due - self.now)} more"
        options = _options(job)
        # A start that was not charged and this delay, which no backoff gave: no task of its worker took it.
        if job.attempts_started > job.attempts_made and job.delay == PUT_OFF_MS:
            backed_off = job.attempts_made and options.backoff.delay
            if not backed_off or options.backoff.wait_ms(job.attempts_made) != PUT_OFF_MS:
                queue, name = self._name_of_queue(job), reason_words.plain(job.name)
                why = f"no worker of queue {queue!r} knows the task {name!r}: put off, {when}"
                fix = f"define {name!r} where a worker runs, or start one that has it: flownb worker MODULE"
                self._find(_NOW, "unknown", f"{_base(job)} {job.name}", job.key, why, fix, rank=due)
                return
        if job.attempts_made:
            which = f"attempt {job.attempts_made + 1} of {max(options.attempts, 1)}"
            why = f"{when}: {which} after {reason_words.plain(tree.describe(job.failed_reason))}"
            self._find(_IN_TIME, "retry", _base(job), job.key, why, "wait, or mend what fails", rank=due)
            return
        self._find(_IN_TIME, "delay", _base(job), job.key, f"{when}, as its options ask", "wait", rank=due)

    def _limited(self, job: JobRecord) -> bool:
        base, queue = _base(job), self._name_of_queue(job)
        about = self.queues[base]
        full = about.most_active is not None and about.active >= about.most_active
        if full:
            why = f"queue {queue!r} is at its global concurrency: {about.active} of {about.most_active} run"
            fix = "wait, or raise the queue's global concurrency"
            self._find(_IN_TIME, "full", base, job.key, why, fix)
        # A worker's own limit is not stored. That some jobs were charged to a window tells of one, if none runs.
        most = HELD_BY_HAND if about.active else 1
        over = about.limited_ms > 0 and about.started >= (about.most_started or most)
        if over:
            left = reason_words.span(about.limited_ms)
            why = f"queue {queue!r} is rate limited for {left}: {about.started:,} started in this window"
            if about.started >= HELD_BY_HAND:
                why = f"queue {queue!r} is rate limited for {left} by a RateLimitError"
            self._find(_IN_TIME, "limited", base, job.key, why, f"wait {left}")
        return full or over

    def _whole_flow(self) -> None:
        root, counts = self.record["root"], self.counts
        if "stored" not in self.record or any(pending.sealed for _, pending in self.parents):
            why = f"half stored, {counts.total:,} of {int(self.record['total']):,} jobs: "
            why += "the program that adds it died, or is still at it"
            fix = "if it died, run the same add again: it makes a whole one"
            if self.record.get("kind") == "batch":
                fix = "if it died, run the same fan_out again: it stores the rest"
            elif keys.id_of(root) != self.flow_state.flow:
                fix = "if it died, add it again with another jobId"
            self._find(_WHOLE, "half", "", root, why, fix)
        well = all(finding.stage >= _WELL for finding in self.findings.values())
        looked = {key for key in self.above if key in self.names}
        unseen = counts.total - counts.count(COMPLETED) - counts.count(FAILED) - len(self.above)
        for job, pending in self.parents:
            cut_off = pending.count > len(pending.keys) or any(key not in self.above for key in pending.keys)
            if not pending.count or not (cut_off or (well and job.key == root)):
                continue
            oldest = [
                reason_words.plain(self.names[key])
                for key in self.above
                if self.above[key] == job.key and key in looked
            ]
            noun = "child" if pending.count == 1 else "children"
            why = (
                f"waits for {pending.count:,} {noun}, the oldest: {', '.join(oldest[:_OLDEST]) or 'unknown'}"
            )
            if cut_off:
                why += f"; {max(unseen, 1):,} more unfinished jobs were not looked at"
            fix = "mend what stands above, then ask again" if cut_off and not well else "wait"
            self._find(_REST, "children", "", job.key, why, fix)


def _base(job: JobRecord) -> str:
    return keys.base_of(job.key)


def _age(found: tuple[str, JobRecord | None, Any]) -> tuple[int, list[Any]]:
    """Sort by creation, then by id with its numbers as numbers."""
    key, job, _ = found
    parts = re.split(r"(\d+)", keys.split(key)[2])
    return job.timestamp if job else 0, [int(part) if part.isdecimal() else part for part in parts]


def _options(job: JobRecord) -> JobOptions:
    return JobOptions.from_wire(codec.decode_object(job.opts))
