"""What a server does with flows, in plain Python: no Redis, no Lua, and nothing of flownb.

One method is one request. It answers what the server should answer and leaves the world as the server should leave it;
`machine.py` sends the same requests to a real server and compares. Written from docs/wire-format.md, not from the scripts.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

ENDED = ("completed", "failed")
IN_LINE = ("waiting", "prioritized", "delayed")


MOVES: Counter[tuple[str, str]] = Counter()  #: ``(from, to)``: how often a job went from one state to another


@dataclass
class Job:
    """One stored job."""

    key: str
    flow: str
    children: list[str] = field(default_factory=list)
    first: str | None = None  #: the parent it was made under; a root has none
    edges: dict[str, str] = field(default_factory=dict)  #: every parent's key -> policy
    counted: dict[str, str] = field(
        default_factory=dict
    )  #: a further parent -> the flow that counts the job too
    attempts: int = 1
    priority: int = 0
    delay: int = 0
    lifo: bool = False
    state: str = ""
    made: int = 0  #: attempts that ended
    starts: int = 0
    begun: bool = False  #: the server was told that its function was called, in this run
    stalls: int = 0  #: deaths of workers while it ran
    alone: int = 0  #: of these, deaths in which nothing else had begun
    unbegun: int = 0  #: deaths of workers that had taken it, and not begun it
    suspect: bool = False  #: it runs alone
    value: str | None = None
    reason: str | None = None
    why: str | None = None
    deferred: str | None = None  #: the next worker fails it with this
    token: str | None = None  #: the lease, while there is one
    last: str | None = None  #: the token of the last end that was written
    pending: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    unsuccessful: dict[str, int] = field(default_factory=dict)  #: children that failed it -> when
    grown: list[list[str]] = field(
        default_factory=list
    )  #: the children that each of its `add_children` calls added

    def __setattr__(self, name: str, value: object) -> None:
        if name == "state" and value:
            before = self.__dict__.get("was", "nothing")
            if before != value:
                MOVES[before, str(value)] += 1
            self.__dict__["was"] = value
        object.__setattr__(self, name, value)

    @property
    def told(self) -> str:
        """The state of which the server tells: what a worker has taken ahead waits."""
        return "waiting" if self.state == "active" and not self.begun else self.state

    @property
    def queue(self) -> str:
        return self.key.rsplit(":", 1)[0]

    @property
    def blamed(self) -> str:
        """The first child that failed it."""
        return min(self.unsuccessful, key=lambda child: (self.unsuccessful[child], child))

    @property
    def id(self) -> str:
        return self.key.rsplit(":", 1)[1]


@dataclass
class Queue:
    """The lines of one queue, each in the order in which its jobs come out."""

    wait: list[str] = field(default_factory=list)
    ranked: list[tuple[int, int, str]] = field(
        default_factory=list
    )  #: (priority, turn, key); turn 0: before its rank
    delayed: list[tuple[int, int, str]] = field(default_factory=list)  #: (due, turn, key)
    aside: list[str] = field(default_factory=list)  #: of paused flows, the newest first
    paused: bool = False


@dataclass
class Flow:
    """A flow's record."""

    root: str
    ended: str | None = None
    cause: str | None = None
    paused: bool = False
    cancelled: bool = False  #: some jobs of it are needed by nobody
    cancels: bool = False  #: what a failure makes useless is cancelled


class World:
    """Everything under one prefix."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.jobs: dict[str, Job] = {}
        self.flows: dict[str, Flow] = {}
        self.queues: dict[str, Queue] = {}
        self.turns = 0
        self.doomed: list[
            str
        ] = []  # jobs that failed in the last request while children of theirs were pending
        self.completing: set[str] = set()  # jobs that complete in this request

    # ---- adding -------------------------------------------------------------------------------------

    def add(self, flow: str, jobs: Sequence[Job], *, cancels: bool = False) -> list[str]:
        """Store a flow, parents before children, the root first; return the keys that were there already."""
        there, late = [], []
        if flow not in self.flows:
            self.flows[flow] = Flow(jobs[0].key, cancels=cancels)
        line: list[Job] = []
        for job in jobs:
            if job.key in self.jobs:
                there.append(job.key)
                for number, (parent, policy) in enumerate(job.edges.items()):
                    late += self._attach(self.jobs[job.key], parent, policy, flow, number == 0)
                continue
            self._store(job, line)
        for job in line:
            self.queue(job).wait.append(job.key)
        for job, parent, policy in late:
            self._climb(job, [(parent, policy)])
        for job in jobs:
            if job.children:
                self._release_if_settled(self.jobs[job.key])
        return there

    def _store(self, job: Job, line: list[Job]) -> None:
        """Store a new job; those that join the end of a line do so together, after all others of the request."""
        self.jobs[job.key] = job
        for parent in job.edges:
            self.jobs[parent].pending.add(job.key)
        if job.children:
            job.state = "waiting-children"
        elif job.delay:
            self._delay(job, self.now + job.delay)
        elif job.priority:
            self._rank(job)
        elif job.lifo:
            self._head(job)
        else:
            job.state = "waiting"
            line.append(job)

    def add_children(
        self, key: str, token: str, starts: int, call: int, children: Sequence[Job]
    ) -> str | list[str | None]:
        """What a running job's call of `add_children` comes to: ``waits``, ``elsewhere``, or the children's values."""
        job = self.jobs.get(key)
        if job is None:
            return "elsewhere"
        if call == len(job.grown):
            lost = job.token is None and job.starts != starts
            flow = self.flows.get(job.flow)
            over = flow is not None and flow.cancelled and flow.ended == "cancelled"
            if over or job.last == token or job.token not in (None, token) or lost:
                return "elsewhere"
            line: list[Job] = []
            for child in children:
                self._store(child, line)
            for child in line:
                self.queue(child).wait.append(child.key)
            job.grown.append([child.key for child in children])
            job.children += job.grown[-1]
            return "waits"
        asked = job.grown[call]
        ignored = [child for child in asked if child in job.ignored and child in self.jobs]
        eager = any(self.jobs[child].edges[key] == "cpof" for child in ignored)
        if job.pending.intersection(asked) and not eager:
            return "waits"
        return [job.values.get(child) for child in asked]

    def _attach(
        self, job: Job, parent: str, policy: str, flow: str, counts: bool
    ) -> Iterator[tuple[Job, str, str]]:
        above = self.jobs[parent]
        if parent not in job.edges:
            job.edges[parent] = policy
            if job.flow != flow and counts:
                job.counted[parent] = flow
        if job.state == "completed":
            above.values[job.key] = job.value or ""
        elif job.key not in above.ignored and job.key not in above.unsuccessful:
            above.pending.add(job.key)
            if job.state == "failed":
                yield job, parent, policy
        self._call_in(job)

    def _call_in(self, job: Job) -> None:
        """A job put aside that a further flow needs joins the end of its line."""
        if job.key in self.queue(job).aside and self.is_needed(job, "paused"):
            self.queue(job).aside.remove(job.key)
            if job.priority:
                self._rank(job)
            else:
                self._tail(job)

    # ---- lines --------------------------------------------------------------------------------------

    def queue(self, job: Job) -> Queue:
        return self.queues.setdefault(job.queue, Queue())

    def _turn(self) -> int:
        self.turns += 1
        return self.turns

    def _tail(self, job: Job) -> None:
        job.state = "waiting"
        self.queue(job).wait.append(job.key)

    def _head(self, job: Job) -> None:
        job.state = "waiting"
        self.queue(job).wait.insert(0, job.key)

    def _rank(self, job: Job, turn: int | None = None) -> None:
        job.state = "prioritized"
        bisect.insort(self.queue(job).ranked, (job.priority, self._turn() if turn is None else turn, job.key))

    def _delay(self, job: Job, due: int, *, first: bool = False) -> None:
        """Jobs due in one millisecond keep the order in which they came; a released parent goes before them."""
        job.state = "delayed"
        turns = [turn for at, turn, _ in self.queue(job).delayed if at == due]
        turn = 0 if first or not turns else max(turns) + 1
        bisect.insort(self.queue(job).delayed, (due, turn, job.key))

    def _enqueue(self, job: Job, *, head: bool) -> None:
        if job.priority:
            self._rank(job)
        elif head:
            self._head(job)
        else:
            self._tail(job)

    def _return(self, job: Job) -> None:
        """Back to the head of its line, before all others of its priority."""
        if job.priority:
            self._rank(job, turn=0)
        else:
            self._head(job)

    def _leave(self, job: Job) -> None:
        queue = self.queue(job)
        if job.key in queue.aside:
            queue.aside.remove(job.key)
        elif job.state == "waiting":
            queue.wait.remove(job.key)
        elif job.state == "prioritized":
            queue.ranked = [entry for entry in queue.ranked if entry[2] != job.key]
        elif job.state == "delayed":
            queue.delayed = [entry for entry in queue.delayed if entry[2] != job.key]

    # ---- running ------------------------------------------------------------------------------------

    def take(
        self,
        queues: Iterable[str],
        want: int,
        token: str,
        free: int | None = None,
        alone: bool = False,
    ) -> list[str]:
        """Take up to `want` jobs, queue by queue; return their keys in order. The first `free` begin, None: all do."""
        taken: list[str] = []
        for name in queues:
            queue = self.queues.setdefault(name, Queue())
            if len(taken) >= want:
                break
            while queue.delayed and queue.delayed[0][0] <= self.now:
                job = self.jobs[queue.delayed.pop(0)[2]]
                job.delay = 0
                self._enqueue(job, head=False)
            while not queue.paused and len(taken) < want and (queue.wait or queue.ranked):
                first = queue.wait or queue.ranked
                entry = first.pop(0)
                key = entry if isinstance(entry, str) else entry[2]
                job = self.jobs[key]
                if not self.is_needed(job, "cancelled"):
                    self._cancel(job)
                    continue
                if not self.is_needed(job, "paused"):
                    job.state = "waiting"
                    queue.aside.insert(0, key)
                    continue
                if job.suspect and not alone:
                    first.insert(0, entry)
                    break
                job.begun = free is None or len(taken) < free
                job.state, job.token = "active", token
                job.starts += 1
                taken.append(key)
        return taken

    def finish(self, outcomes: Sequence[dict]) -> list[str]:
        """Write the ends of runs; an outcome is {key, token, starts, kind, ...}. Return an answer each."""
        answers, accepted = [], []
        self.doomed = []
        for outcome in outcomes:
            job = self.jobs.get(outcome["key"])
            answer = self._answer(job, outcome)
            answers.append(answer)
            if job is not None and answer == "done" and outcome["kind"] == "begun":
                job.begun = True
            elif job is not None and answer == "done":
                accepted.append((job, outcome, job.state))
                self._leave(job)
                job.state, job.token = "active", None
        self.completing = {job.key for job, outcome, _ in accepted if outcome["kind"] == "completed"}
        parents: dict[str, list[tuple[Job, str]]] = {}
        for job, outcome, _ in accepted:
            if outcome["kind"] == "completed":
                for parent in job.edges:
                    parents.setdefault(parent, []).append((job, outcome["value"]))
        for parent, children in parents.items():
            above = self.jobs.get(parent)
            told = [(job, value) for job, value in children if above and job.key in above.pending]
            for job, value in told:
                above.pending.discard(job.key)
                above.values[job.key] = value
            if told:
                self._release_if_settled(above)
        for job, outcome, before in accepted:
            self._end(job, outcome, late=before != "active")
        self.completing = set()
        return answers

    def _answer(self, job: Job | None, outcome: dict) -> str:
        if job is None:
            return "missing"
        if job.last == outcome["token"]:
            return "repeated"
        if job.token is not None and job.token != outcome["token"]:
            return "stale"
        if outcome["kind"] == "begun":
            return "stale" if job.token is None else "done"
        if job.token is None and job.starts != outcome["starts"]:
            return "stale"
        if outcome["kind"] == "completed":
            if job.unsuccessful:
                return "failed-children"
            if job.pending and not job.ignored:  # a failed child may have let it run before the others
                return "pending-children"
        if outcome["kind"] == "parked" and job.unsuccessful:
            return "failed-children"
        return "done" if job.state in ("active", "waiting", "prioritized") else "stale"

    def _end(self, job: Job, outcome: dict, *, late: bool) -> None:
        job.last = outcome["token"]
        kind = outcome["kind"]
        if kind in ("completed", "failed", "retry"):
            job.made += 1
        by_itself = kind == "completed" or (kind == "failed" and outcome.get("why") != "cancelled")
        if not by_itself and not self.is_needed(job, "cancelled"):
            self._cancel(job, outcome.get("reason") or "cancelled")
            return
        if kind == "completed":
            job.state, job.value = "completed", outcome["value"]
            if late:
                job.deferred = None
        elif kind == "failed":
            job.reason, job.why = outcome["reason"], outcome.get("why") or job.why
            self._climb(job, list(job.edges.items()))
            job.state, job.deferred = "failed", None
            self._doom(job)
        elif kind == "retry":
            job.reason = outcome["reason"]
            if outcome["delay"]:
                job.delay = outcome["delay"]
                self._delay(job, self.now + outcome["delay"])
            else:
                self._enqueue(job, head=job.lifo)
        elif kind == "put_off":
            job.delay = outcome["delay"]
            self._delay(job, self.now + outcome["delay"])
        elif kind == "unbegun":
            job.starts -= not late
            self._return(job)
        elif kind == "parked" and job.pending:
            job.state = "waiting-children"
        else:
            self._return(job)
        flow = self.flows.get(job.flow)
        if flow and job.first is None and job.state in ENDED:
            if job.state == "failed":
                flow.cause = flow.cause or job.key
            flow.ended = flow.ended or job.state

    def _release_if_settled(self, parent: Job) -> None:
        if not parent.pending:
            self._release(parent)

    def _release(self, parent: Job) -> None:
        if parent.state != "waiting-children":
            return
        if parent.delay:
            self._delay(parent, self.now + parent.delay, first=True)
        else:
            self._enqueue(parent, head=True)

    def _climb(self, job: Job, edges: Iterable[tuple[str, str]], cause: str | None = None) -> None:
        """A job failed for good: every parent's policy for it says what that means."""
        failed = [(job, job.reason or "", list(edges))]
        while failed:
            child, reason, above = failed.pop()
            for key, policy in above:
                parent = self.jobs.get(key)
                if parent is None or child.key not in parent.pending:
                    continue
                parent.pending.discard(child.key)
                if policy == "fpof" and (parent.state == "completed" or key in self.completing):
                    continue  # it went on without this child, and has ended
                if policy == "fpof":
                    parent.unsuccessful[child.key] = self.now
                    if self._fail_at_once(parent, child.key, cause or job.key):
                        failed.append((parent, parent.reason or "", list(parent.edges.items())))
                elif policy == "rdof":
                    self._release_if_settled(parent)
                else:
                    parent.ignored[child.key] = reason
                    if policy == "cpof":
                        self._release(parent)
                    else:
                        self._release_if_settled(parent)

    def _fail_at_once(self, parent: Job, child: str, cause: str) -> bool:
        flow = self.flows.get(parent.flow)
        if flow:
            flow.cause = flow.cause or cause
        reason = f"child {child} failed"
        if parent.state not in ("waiting-children", "delayed"):
            if parent.state != "failed":
                parent.deferred = reason
            return False
        self._fail_by_child(parent, reason)
        return True

    def _fail_by_child(self, parent: Job, reason: str) -> None:
        self._leave(parent)
        parent.state, parent.reason, parent.why, parent.deferred = "failed", reason, "child", None
        self._doom(parent)
        flow = self.flows.get(parent.flow)
        if flow and parent.first is None:
            flow.ended = flow.ended or "failed"

    def catch_up(self, name: str) -> None:
        """Who looks after a flow fails parents in line that a failed child dooms, before a worker meets them."""
        if self.flows[name].ended is not None:
            return
        for key in self.below(self.flows[name].root)[::-1]:
            job = self.jobs[key]
            flow = self.flows.get(job.flow)
            if not (flow and job.deferred and job.unsuccessful) or key in self.queue(job).aside:
                continue
            if job.state in IN_LINE:
                cause = self._first_failure(key)
                flow.cause = flow.cause or cause
                reason = job.deferred
                self._fail_by_child(job, reason)
                self._climb(job, list(job.edges.items()), cause)

    def _first_failure(self, key: str | None) -> str | None:
        """The deepest job that failed this one."""
        while key in self.jobs and self.jobs[key].unsuccessful:
            key = self.jobs[key].blamed
        return key

    def _doom(self, parent: Job) -> None:
        flow = self.flows.get(parent.flow)
        if flow and flow.cancels and parent.pending:
            flow.cancelled = True
            self.doomed.append(parent.key)

    # ---- losing the right to run ----------------------------------------------------------------------

    def lose_lease(self, key: str) -> None:
        if key in self.jobs:
            self.jobs[key].token = None

    def sweep(self, most: int) -> list[str]:
        """Put back what runs without a lease (two sweeps: the first only suspects); return the keys."""
        lost = [job for job in self.jobs.values() if job.state == "active" and job.token is None]
        for job in lost:
            self._charge(job, most, "begun" if job.begun else "unbegun", job.suspect)
            if self.is_needed(job, "cancelled"):
                self._head(job)
            else:
                self._cancel(job)
        return [job.key for job in lost]

    def give_back(
        self, keys: Sequence[str], token: str, death: str | None, alone: bool, most: int
    ) -> list[str]:
        given = []
        for key in keys:
            job = self.jobs.get(key)
            if job and job.state == "active" and job.token == token:
                job.token = None
                self._charge(job, most, death, alone)
                if self.is_needed(job, "cancelled"):
                    self._return(job)
                else:
                    self._cancel(job)
                given.append(key)
        return given

    def _charge(self, job: Job, most: int, death: str | None, alone: bool) -> None:
        """A worker died, or not (None): who had begun is charged, and so is a suspect, which had nothing beside it."""
        if death == "unbegun" and not job.suspect:
            job.unbegun += 1
            job.suspect = job.unbegun >= 10
        elif death:
            job.stalls += 1
            job.alone += alone or death == "unbegun"
            if job.stalls > most and job.alone >= min(2, most + 1):
                job.deferred = f"crashed its worker {job.stalls} time{'s' if job.stalls > 1 else ''}"
            elif job.stalls > most:
                job.suspect = True

    # ---- holding and cancelling -----------------------------------------------------------------------

    def is_needed(self, job: Job, word: str) -> bool:
        """Whether a way up from a job leads out of the flows that are paused, or cancelled."""
        flow = self.flows.get(job.flow)
        if flow is None or not getattr(flow, word):
            return True
        if job.first is None and word == "cancelled" and flow.ended != "cancelled":
            return True
        above = [self.jobs[parent] for parent in job.edges if parent in self.jobs]
        return any(self.is_needed(one, word) for one in above if word == "paused" or one.state != "failed")

    def resume_flow(self, name: str, queues: Iterable[str]) -> None:
        self.flows[name].paused = False
        for queue in queues:
            self.put_back(self.queues.setdefault(queue, Queue()))

    def put_back(self, queue: Queue) -> None:
        """Jobs put aside that may run go to the head of their line, the oldest at its very head."""
        for job in [self.jobs[key] for key in queue.aside]:
            if self.is_needed(job, "paused"):
                queue.aside.remove(job.key)
                self._return(job)

    def cancel_below(self, tops: Sequence[str]) -> None:
        """What waits below these, and is needed by nobody, ends."""
        below = [key for top in tops if top in self.jobs for key in self.below(top)]
        for job in [self.jobs[key] for key in below]:
            if job.state not in ("active", *ENDED) and not self.is_needed(job, "cancelled"):
                self._leave(job)
                self._cancel(job)

    def cancel_flow(self, name: str) -> bool:
        """The flow has ended, and with it its root if it waits; False for one that has completed."""
        flow = self.flows[name]
        if flow.ended == "completed":
            return False
        flow.cancelled = True
        if flow.ended is None:
            flow.ended = "cancelled"
            root = self.jobs[flow.root]
            if root.state not in ("active", *ENDED) and not self.is_needed(root, "cancelled"):
                self._leave(root)
                self._cancel(root)
        return True

    def _cancel(self, job: Job, reason: str = "cancelled") -> None:
        """A job that nobody needs ends; parents that wait for it go with it, they are not failed by it."""
        job.state, job.reason, job.why, job.deferred = "failed", reason, "cancelled", None
        for key, policy in job.edges.items():
            parent = self.jobs.get(key)
            if parent is None:
                continue
            if job.key in parent.pending:
                parent.pending.discard(job.key)
                if policy == "fpof":
                    if parent.state != "completed" and key not in self.completing:
                        parent.unsuccessful[job.key] = self.now
                elif policy != "rdof":
                    parent.ignored[job.key] = reason
            if parent.state == "waiting-children":
                self._cancel(parent)

    # ---- again ----------------------------------------------------------------------------------------

    def retry_flow(self, name: str, keys: Sequence[str]) -> list[str]:
        """Run failed jobs of a flow again; one that was cancelled is as far as its root is."""
        flow = self.flows[name]
        was = flow.ended
        answers = self.retry(keys)
        if was == "cancelled" or keys:
            flow.cancelled = False
            root = self.jobs[flow.root]
            if flow.ended == "cancelled" and root.why != "cancelled":
                flow.ended = root.state if root.state in ENDED else None
                if flow.ended == "failed":
                    flow.cause = flow.cause or self._first_failure(flow.root)
        return answers

    def retry(self, keys: Sequence[str]) -> list[str]:
        """Run failed jobs again; what stands above them waits again. Return an answer each."""
        answers, accepted = dict[int, str](), dict[int, Job]()
        for i, key in enumerate(keys):
            job = self.jobs.get(key)
            if job is None:
                answers[i] = "missing"
            elif job in accepted.values():
                answers[i] = "repeated"
            elif job.state != "failed":
                answers[i] = "not-failed"
            elif running := self._running_above(job):
                answers[i] = f"parent-active {running}"
            else:
                accepted[i] = job
        while held := [i for i, job in accepted.items() if self._held_down(job, accepted.values())]:
            for i in held[:1]:
                answers[i] = f"failed-children {accepted[i].blamed}"
                del accepted[i]
        reviewed: dict[str, str | None] = {}
        above: list[str] = []
        for job in accepted.values():
            if job.flow in self.flows:
                self.flows[job.flow].cancelled = False
            self._forget_end(job, above, reviewed)
        for job in accepted.values():
            answers[list(accepted)[list(accepted.values()).index(job)]] = "done"
            if job.pending:
                job.state = "waiting-children"
            else:
                self._enqueue(job, head=job.lifo)
        while above:
            self._revive(self.jobs[above.pop(0)], above, reviewed)
        for flow, blame in reviewed.items():
            self._review(flow, blame)
        return [answers[i] for i in range(len(keys))]

    def _keeps(self, parent: str, child: str) -> bool:
        above = self.jobs.get(parent)
        if above is None:
            return False
        return child not in above.pending

    def _running_above(self, child: Job) -> str | None:
        for parent in child.edges:
            if self._keeps(parent, child.key):
                above = self.jobs[parent]
                if above.state == "active":
                    return parent
                if above.state in ENDED and (running := self._running_above(above)):
                    return running
        return None

    def _held_down(self, job: Job, accepted: Iterable[Job]) -> bool:
        mended = sum(job.key in other.edges and other.key in job.unsuccessful for other in accepted)
        return len(job.unsuccessful) > mended

    def _forget_end(self, job: Job, above: list[str], reviewed: dict[str, str | None]) -> None:
        job.value = job.reason = job.why = job.deferred = None
        job.made = job.stalls = job.alone = job.unbegun = 0
        job.suspect = False
        if job.first is None and job.flow in self.flows:
            self.flows[job.flow].ended = self.flows[job.flow].cause = None
        reviewed.setdefault(job.flow, None)
        for parent in job.edges:
            if self._keeps(parent, job.key):
                holder = self.jobs[parent]
                holder.unsuccessful.pop(job.key, None)
                holder.ignored.pop(job.key, None)
                holder.values.pop(job.key, None)
                holder.pending.add(job.key)
                above.append(parent)
            if parent in job.counted:
                reviewed.setdefault(job.counted[parent], None)
        job.state = ""

    def _revive(self, job: Job, above: list[str], reviewed: dict[str, str | None]) -> None:
        if job.unsuccessful:
            reviewed[job.flow] = job.key
            if job.state in IN_LINE and not job.deferred:
                job.deferred = f"child {job.blamed} failed"
        elif job.state not in ("waiting-children", "active"):
            if job.state in ENDED:
                self._forget_end(job, above, reviewed)
            else:
                self._leave(job)
                job.deferred = None
                if job.starts:
                    job.starts += 1
            job.state = "waiting-children"
            reviewed.setdefault(job.flow, None)

    def _review(self, name: str, blame: str | None) -> None:
        """A flow's cause that is no failed job any more is none; what still holds a parent down takes its place."""
        flow = self.flows.get(name)
        if flow is None or flow.cause is None:
            return
        cause = self.jobs.get(flow.cause)
        if cause is not None and cause.state == "failed":
            return
        held = blame or (flow.root if flow.ended == "failed" else None)
        flow.cause = self._first_failure(held)

    # ---- no more --------------------------------------------------------------------------------------

    def below(self, top: str) -> list[str]:
        """Every job below one, each after all its parents there."""
        found, level = {top: None}, [top]
        while level:
            level = [key for parent in level if parent in self.jobs for key in self.jobs[parent].children]
            for key in level:
                found.pop(key, None)
                found[key] = None
        return [key for key in found if key in self.jobs]

    def staying(self, top: str, home: str) -> list[str]:
        """The jobs below one that somebody else uses, or that belong elsewhere, and what is below them."""
        mine, stay = self.below(top), list[str]()
        for key in mine:
            job = self.jobs[key]
            others = [
                parent
                for parent in job.edges
                if parent in self.jobs and (parent not in mine or parent in stay)
            ]
            if job.flow != home or (others and not (key == top and job.first)):
                stay.append(key)
        return stay

    def remove_flow(self, flow: str) -> bool:
        """Cancel a flow and remove it, running jobs too."""
        if self.flows[flow].ended != "completed":
            self.cancel_flow(flow)
        root = self.flows[flow].root
        self._remove(self.below(root), self.staying(root, flow), flow)
        del self.flows[flow]
        return True

    def remove_job(self, top: str) -> bool:
        """Remove a job and what is below it; its parents wait for it no more, and are not failed by it."""
        job = self.jobs[top]
        if job.flow in self.flows and self.flows[job.flow].root == top:
            return self.remove_flow(job.flow)
        stay = self.staying(top, job.flow)
        if not self._remove(self.below(top), stay, None):
            return False
        flow = self.flows.get(job.flow)
        if flow and flow.cause in stay:
            blamed = self.jobs[flow.cause]
            if job.flow not in (blamed.flow, *blamed.counted.values()):
                flow.cause = top  # what was to blame has left the flow
        for parent in job.edges:
            if parent in self.jobs:
                self._let_go(self.jobs[parent], top)
        return True

    def _remove(self, mine: list[str], stay: list[str], flow: str | None) -> bool:
        going = [key for key in mine if key not in stay]
        if flow is None and any(self.jobs[key].state == "active" for key in going):
            return False
        for key in stay:
            self._detach(self.jobs[key], [parent for parent in self.jobs[key].edges if parent in going], flow)
        for key in going:
            self._leave(self.jobs[key])
            del self.jobs[key]
        return True

    def _let_go(self, parent: Job, child: str) -> None:
        parent.unsuccessful.pop(child, None)
        if child in parent.pending:
            parent.pending.discard(child)
            if not parent.pending and parent.state == "waiting-children":
                self._head(parent)
        flow = self.flows.get(parent.flow)
        if flow and flow.cause and flow.cause not in self.jobs:
            if parent.state == "failed":
                flow.cause = parent.key
            else:
                flow.cause = flow.root if flow.ended else None

    def _detach(self, job: Job, gone: Sequence[str], flow: str | None) -> None:
        was_root = job.first is None
        for parent in gone:
            del job.edges[parent]
            job.counted.pop(parent, None)
        flows = [self.jobs[parent].flow for parent in job.edges if parent in self.jobs]
        homeless = job.flow == flow or (job.flow not in flows and not was_root)
        if homeless:
            home = next((one for one in flows if one != flow), None)
            for parent, counts in list(job.counted.items()):
                if counts == home:
                    del job.counted[parent]
            job.flow = home or ""
        for parent in [parent for parent, counts in job.counted.items() if counts == flow]:
            home = self.jobs[parent].flow
            del job.counted[parent]
            if home != job.flow and home not in job.counted.values():
                job.counted[parent] = home
        if job.first in gone or (job.first is None and homeless):
            job.first = next(iter(job.edges), None)
            job.counted.pop(job.first or "", None)

    # ---- looking --------------------------------------------------------------------------------------

    def counts(self, flow: str) -> dict[str, int]:
        """How many jobs of a flow are in which state, as ``queue state``."""
        found: dict[str, int] = {}
        for job in self.jobs.values():
            names = []
            if job.flow == flow:
                names.append(job.told)
            names += [
                job.state if job.state in ENDED else "waiting"
                for counts in job.counted.values()
                if counts == flow
            ]
            for state in names:
                word = f"{job.queue.rsplit(':', 1)[1]} {state}"
                found[word] = found.get(word, 0) + 1
        return found

    def flow_state(self, flow: str) -> str:
        record = self.flows[flow]
        if record.ended:
            return record.ended
        return "failing" if record.cause else self.jobs[record.root].told
