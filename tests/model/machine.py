"""The same requests, in any order, to a real server and to `world.World`; after each one everything that shows is compared."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flownb.adding.child_jobs import Run
from flownb.adding.node import Node
from flownb.adding.plan import plan
from flownb.adding.planned_job import Plan
from flownb.adding.send import store_plan
from flownb.api import doctor
from flownb.api.job import Job as Handle
from flownb.errors import FlowError, TransitionError, WaitingChildren
from flownb.state.flow_state import OwnFlowState, state_of
from flownb.steering import remove
from flownb.steering.retry import retry_flow
from flownb.wire.lease_records import Death
from flownb.wire.outcomes import Outcome
from flownb.wire.requests import Retry
from flownb.wire.store.job_records import Taken
from tests.model.world import ENDED, IN_LINE, Job, Queue, World
from tests.support import invariants
from tests.support.script_bench import (
    PREFIX,
    START,
    Bench,
    begun,
    completed,
    failed,
    parked,
    put_off,
    retry,
    returned,
    text,
    unbegun,
)

QUEUES = ("red", "green", "blue")
POLICIES = {
    "fpof": {},
    "idof": {"failParentOnFailure": False},
    "cpof": {"continueParentOnFailure": True},
    "rdof": {"removeDependencyOnFailure": True},
}
TIMINGS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"delay": 50},
    {"priority": 2},
    {"priority": 5},
    {"lifo": True},
)
KINDS = (
    "completed",
    "completed",
    "completed",
    "failed",
    "failed",
    "retry",
    "later",
    "returned",
    "put_off",
    "unbegun",
)
MOST_STALLS = 1
STATES_OF = {  # what a job's last event says of its state
    "waiting": ("waiting", "prioritized"),
    "stalled": ("waiting", "prioritized"),  # put back from what was put aside
    "active": ("active",),
    "delayed": ("delayed",),
    "waiting-children": ("waiting-children",),
    "completed": ("completed",),
    "failed": ("failed",),
    "retries-exhausted": ("failed",),
}


@st.composite
def shapes(draw: st.DrawFn, least: int = 1) -> list[dict[str, Any]]:
    """A DAG: each node hangs under one or two earlier ones, with a policy for each; the first is the root."""
    nodes: list[dict[str, Any]] = []
    for i in range(draw(st.integers(least, 6))):
        above = draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=min(i, 2))) if i else set()
        under = {j: draw(st.sampled_from(sorted(POLICIES))) for j in sorted(above)}
        nodes.append(
            {"queue": draw(st.sampled_from(QUEUES)), "under": under, "timing": draw(st.sampled_from(TIMINGS))}
        )
    return nodes


class FlowMachine(RuleBasedStateMachine):
    """A server with flows and workers on it. `bench` is set by whoever runs it."""

    bench: ClassVar[Bench]
    done: ClassVar[Counter[str]] = Counter()  #: how often what was answered

    @initialize(nodes=shapes(least=3), data=st.data())
    def start(self, nodes: list[dict[str, Any]], data: st.DataObject) -> None:
        self.bench.redis.flushall()
        self.bench.now = START
        self.store = self.bench.store
        self.world = World(START)
        self.plans: dict[str, Plan] = {}
        self.abouts: dict[str, dict[str, str]] = {}
        self.held: list[Taken] = []  # what workers run
        self.late: list[Taken] = []  # what workers run without the right to
        self.sent: list[dict[str, Any]] = []  # the last ends that were accepted
        self.seen: dict[str, str] = {}  # stream -> the last entry that was read
        self.told: dict[str, str] = {}  # job -> its last event
        self.done["history"] += 1
        self.doomed: list[str] = []  # failed parents whose worker has not yet cancelled what is below them
        self.asked = 0  # retries
        self.asked_for: dict[str, list[list[Any]]] = {}  # job -> the children that each of its calls asks for
        self.calls: dict[tuple[str, str], int] = {}  # (job, token): calls that were answered in this run
        self.grown = 0  # children added at run time
        self._add(nodes, data)

    # ---- adding -------------------------------------------------------------------------------------

    @rule(nodes=shapes(), data=st.data())
    def add(self, nodes: list[dict[str, Any]], data: st.DataObject) -> None:
        """Add a flow; some of its leaves may be jobs that are there already, in whatever state."""
        self._add(nodes, data)

    def _add(self, nodes: list[dict[str, Any]], data: st.DataObject) -> None:
        flow = f"f{len(self.plans)}"
        there = sorted(self.world.jobs)
        parents = {j for one in nodes for j in one["under"]}
        names: list[tuple[str, str]] = []
        for i, one in enumerate(nodes):
            if i and i not in parents and there and data.draw(st.booleans(), label="shared"):
                _, queue, id = data.draw(st.sampled_from(there)).split(":")
                if (queue, id) not in names:
                    names.append((queue, id))
                    continue
            names.append((one["queue"], f"{flow}-{i}"))
        made = plan(_tree(nodes, names), prefix=PREFIX, flow=flow)
        self.plans[flow] = made
        jobs = []
        for planned in made.jobs:
            edges = {made.jobs[parent].key: policy for parent, policy in planned.parents.items()}
            options = planned.options
            jobs.append(
                Job(
                    planned.key,
                    flow,
                    [made.jobs[child].key for child in planned.children],
                    first=next(iter(edges), None),
                    edges=edges,
                    priority=options.priority,
                    delay=options.delay,
                    lifo=options.lifo,
                )
            )
        cancels = data.draw(st.booleans(), label="cancels on failure")
        self.abouts[flow] = {"on_failure": "cancel"} if cancels else {}
        expected = [key.rsplit(":", 1)[1] for key in self.world.add(flow, jobs, cancels=cancels)]
        assert store_plan(self.store, made, flow, self.abouts[flow]) == expected

    @precondition(lambda self: self.plans)
    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        """The answer was lost: the same request again changes nothing."""
        flow = data.draw(st.sampled_from(sorted(self.plans)))
        made = self.plans[flow]
        known = self.world.flows.get(flow)
        if known and known.ended != "cancelled" and all(job.key in self.world.jobs for job in made.jobs):
            before = self.bench.contents()
            store_plan(self.store, made, flow, self.abouts[flow])
            assert self.bench.contents() == before

    # ---- running ------------------------------------------------------------------------------------

    @rule(
        queues=st.lists(st.sampled_from(QUEUES), min_size=1, unique=True),
        want=st.integers(1, 4),
        free=st.none() | st.integers(0, 3),
    )
    def take(self, queues: list[str], want: int, free: int | None = None) -> None:
        """A worker takes jobs; it has so many slots free, and takes the others ahead."""
        self._take(queues, want, free)

    @rule(queue=st.sampled_from(QUEUES))
    def take_alone(self, queue: str) -> None:
        self._take([queue], 1, 1, alone=True)

    def _take(self, queues: list[str], want: int, free: int | None, alone: bool = False) -> None:
        taken = self.bench.take(*queues, want=want, free=free, alone=alone)
        bases = [f"{PREFIX}:{queue}" for queue in queues]
        expected = self.world.take(bases, want, f"w:{self.bench.calls}", free, alone)
        assert [one.record.key for one in taken] == expected
        for one in taken:
            job = self.world.jobs[one.record.key]
            assert (one.record.attempts_started, one.deferred) == (job.starts, job.deferred)
            assert (one.is_ahead, one.is_suspect) == (not job.begun, job.suspect)
        self.held += taken

    def _a_run(self, data: st.DataObject) -> Taken | None:
        """One that has its right to run: nearly always there is one, or what it takes to have one is done."""
        if not self.held:
            self.take(list(QUEUES), 3)
        if not self.held:
            self._open_queues()
            self.pass_time(60)
            if not any(job.state in IN_LINE for job in self.world.jobs.values()):
                self._add(data.draw(shapes()), data)
            self.take(list(QUEUES), 3)
        return data.draw(st.sampled_from(self.held)) if self.held else None

    @rule(data=st.data(), count=st.integers(1, 3))
    def finish(self, data: st.DataObject, count: int) -> None:
        """Some runs end, well or badly; among them some that have lost their right to."""
        self._a_run(data)
        runs: list[Taken] = []
        for _ in range(min(count, len(self.held) + len(self.late))):
            run = data.draw(st.sampled_from([*self.held, *self.late]))
            if all(run.record.key != other.record.key for other in runs):
                (self.held if run in self.held else self.late).remove(run)
                runs.append(run)
        self._end(runs, data)

    def _end(self, runs: list[Taken], data: st.DataObject) -> None:
        outcomes = [self._outcome(run, data) for run in runs]
        answers = self._finish(outcomes) if outcomes else []
        self.sent = [one for one, answer in zip(outcomes, answers, strict=True) if answer == "done"]
        for run, answer in zip(runs, answers, strict=True):
            if answer in ("failed-children", "pending-children"):
                again = [failed(run, f"children: {answer}", why="child")]
                # What ended in the same request may have cancelled it.
                assert self._finish(again)[0] in ("done", "stale")
                self.sent = []

    def _outcome(self, run: Taken, data: st.DataObject) -> Outcome:
        if run.deferred:
            return failed(run, run.deferred, why="crashed" if "crashed" in run.deferred else "child")
        kind = data.draw(st.sampled_from(KINDS))
        if kind == "completed":
            return completed(run, json.dumps(f"{run.record.id} {run.token}"))
        if kind == "failed":
            return failed(run, f"{run.record.id} broke")
        if kind == "returned":
            return returned(run)
        if kind == "unbegun":
            return unbegun(run)
        if kind == "put_off":
            return put_off(run, 40)
        return retry(run, "not yet", delay=30 if kind == "later" else 0, lifo=self._is_lifo(run))

    @rule(data=st.data())
    def work_for_long(self, data: st.DataObject) -> None:
        """Whatever can run does, a few times over: most flows end."""
        self._open_queues()
        for _ in range(5):
            self.pass_time(60)
            self.work(list(QUEUES), 9, data)

    @rule(queues=st.permutations(QUEUES), want=st.integers(1, 6), data=st.data())
    def work(self, queues: list[str], want: int, data: st.DataObject) -> None:
        """Some jobs run to the end of an attempt at once."""
        before = len(self.held)
        self.take(queues, want)
        runs, self.held = self.held[before:], self.held[:before]
        self._end(runs, data)

    @rule(
        data=st.data(),
        policy=st.sampled_from(sorted(POLICIES)),
        timing=st.sampled_from(TIMINGS),
        count=st.integers(1, 2),
    )
    def add_children(self, data: st.DataObject, policy: str, timing: dict[str, Any], count: int) -> None:
        """A running job adds children, or asks again for those that it added in an earlier run."""
        run = self._a_run(data)
        if self.late and data.draw(st.booleans(), label="late"):
            run = data.draw(st.sampled_from(self.late))
        if run is None or run.deferred:
            return
        key = run.record.key
        call = self.calls.get((key, run.token), 0)
        asked = self.asked_for.setdefault(key, [])
        if call == len(asked):
            queue = data.draw(st.sampled_from(QUEUES))
            self.grown += count
            asked.append([(queue, f"g{self.grown - i}", timing, policy) for i in range(count)])
        wanted = asked[call]
        nodes = [
            Node(id, queue, None, {"jobId": id, **its, **POLICIES[word]}) for queue, id, its, word in wanted
        ]
        flow = self.world.jobs[key].flow if key in self.world.jobs else ""
        children = [
            Job(f"{PREFIX}:{queue}:{id}", flow, first=key, edges={key: word}, **its)
            for queue, id, its, word in wanted
        ]
        expected = self.world.add_children(key, run.token, run.record.attempts_started, call, children)
        if expected == "elsewhere":
            asked.pop()
        found: Any
        try:
            found = Handle(run.record, store=self.store, run=Run(run, calls=call)).add_children(nodes)
        except WaitingChildren:
            found = "waits"
        except TransitionError:
            found = "elsewhere"
        if isinstance(expected, list):
            expected = [None if value is None else json.loads(value) for value in expected]
            self.calls[key, run.token] = call + 1
        assert found == expected
        self.done[f"children {'values' if isinstance(found, list) else found}"] += 1
        if found == "waits" and data.draw(st.booleans(), label="goes on to wait"):
            (self.held if run in self.held else self.late).remove(run)
            answers = self._finish([parked(run)])
            if answers == ["failed-children"]:
                assert self._finish([failed(run, "children", why="child")]) == ["done"]
            self.sent = []

    def _is_lifo(self, run: Taken) -> bool:
        job = self.world.jobs.get(run.record.key)
        return bool(job and job.lifo)

    def _finish(self, outcomes: list[dict[str, Any]]) -> list[str]:
        turn = self.bench.fetch(outcomes=outcomes, want=0)
        answers = turn.answers
        expected = self.world.finish(
            [
                {**one._asdict(), "key": f"{one.base}:{one.id}", "starts": one.attempts_started}
                for one in outcomes
            ]
        )
        assert answers == expected
        assert turn.failed_parents == self.world.doomed
        self.doomed += turn.failed_parents
        self.done.update(f"{one.kind} {answer}" for one, answer in zip(outcomes, answers, strict=True))
        return answers

    @rule(data=st.data())
    def tell_a_beginning(self, data: st.DataObject) -> None:
        """A job that was taken ahead has begun; told twice, or of one that begun at once, this changes nothing."""
        run = self._a_run(data)
        if run is not None:
            self._finish([begun(run)])

    @precondition(lambda self: self.sent)
    @rule()
    def finish_again(self) -> None:
        """The answer was lost: the same ends again change nothing, as long as nothing else happened to the jobs."""
        before = self.bench.contents()
        assert set(self._finish(self.sent)) <= {"repeated", "missing", "stale"}
        assert self.bench.contents() == before

    @rule(data=st.data())
    def lose_a_lease(self, data: st.DataObject) -> None:
        run = self._a_run(data)
        if run is None:
            return
        self.held.remove(run)
        self.late.append(run)
        self.bench.lose_lease(run)
        self.world.lose_lease(run.record.key)
        if data.draw(st.booleans(), label="swept"):
            self._sweep(MOST_STALLS)

    def _sweep(self, most: int) -> None:
        """Twice, as the first sweep only suspects. In which order it finds several is the server's affair."""
        self.bench.sweep(*QUEUES, most=most)
        found = self.bench.sweep(*QUEUES, most=most)
        expected = self.world.sweep(most)
        assert sorted(found) == sorted(key.rsplit(":", 1)[1] for key in expected)
        for base, queue in self.world.queues.items():
            real = [f"{base}:{id}" for id in self.bench.list(f"{base}:wait")[::-1]]
            assert sorted(real) == sorted(queue.wait)
            queue.wait = real

    @rule(data=st.data(), taken=st.booleans())
    def end_late(self, data: st.DataObject, taken: bool) -> None:
        """A run loses its lease, its job is put back, perhaps somebody else starts it; then the run ends."""
        self.lose_a_lease(data)
        if taken:
            self.take(list(QUEUES), 9)
        if self.late:
            self._end([self.late.pop()], data)

    @rule(data=st.data(), of=st.sampled_from(["begun", "begun", "unbegun", None]), alone=st.booleans())
    def give_back(self, data: st.DataObject, of: str | None, alone: bool) -> None:
        run = self._a_run(data)
        if run is None:
            return
        self.held.remove(run)
        self.late.append(run)
        death = Death(of, alone=alone) if of else None
        locks = {run.record.id: run.token}
        given = self.store.leases.give_back(run.base, locks, death=death, most=MOST_STALLS)
        expected = self.world.give_back([run.record.key], run.token, of, alone, MOST_STALLS)
        assert given == [key.rsplit(":", 1)[1] for key in expected]

    @rule(ms=st.integers(1, 60))
    def pass_time(self, ms: int) -> None:
        """Time passes, and meanwhile the server forgets its scripts, as it does in a failover."""
        self.bench.wait(ms)
        self.world.now += ms
        self.bench.redis.script_flush()

    # ---- steering -----------------------------------------------------------------------------------

    def _open_queues(self) -> None:
        for base, here in self.world.queues.items():
            if here.paused:
                self.pause_or_resume_a_queue(base.rsplit(":", 1)[1])

    @rule(queue=st.sampled_from(QUEUES))
    def pause_or_resume_a_queue(self, queue: str) -> None:
        base = f"{PREFIX}:{queue}"
        here = self.world.queues.get(base)
        if here is not None:
            (self.store.queues.resume if here.paused else self.store.queues.pause)(base)
            if here.paused:
                self.world.put_back(here)
            here.paused = not here.paused

    @precondition(lambda self: self.world.flows)
    @rule(data=st.data())
    def pause_or_resume_a_flow(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(sorted(self.world.flows)))
        record = self.world.flows[flow]
        if record.paused:
            bases = self.store.flows.read_queues(flow)
            self.store.flows.resume(bases, flow)
            self.world.resume_flow(flow, bases)
        else:
            self.store.flows.pause(record.root.rsplit(":", 1)[0], flow)
            record.paused = True

    @precondition(lambda self: self.doomed)
    @rule()
    def cancel_what_a_failure_made_useless(self) -> None:
        self._cancel_below(self.doomed)
        self.doomed = []

    def _cancel_below(self, tops: list[str]) -> None:
        """Those that the sender of the request does not find are ended by the worker that meets them."""
        below = [key for top in tops if top in self.world.jobs for key in self.world.below(top)]
        if below:
            self.store.jobs.cancel(below)
        self.world.cancel_below(tops)
        self.sent = []

    @precondition(lambda self: self.world.flows)
    @rule(data=st.data())
    def cancel_flow(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(sorted(self.world.flows)))
        root = self.world.flows[flow].root
        self.store.flows.cancel(root.rsplit(":", 1)[0], flow)
        if self.world.cancel_flow(flow):
            self._cancel_below([root])
        self.done["flow cancelled"] += 1
        self.sent = []

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def retry_jobs(self, data: st.DataObject) -> None:
        """Retry some jobs, most of them failed ones."""
        some = [job.key for job in self.world.jobs.values() if job.state == "failed"]
        some += sorted(self.world.jobs)[:1]
        chosen = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=4, unique=True))
        self.asked += 1
        token = f"again-{self.asked}"
        asked = [Retry(key, self.world.jobs[key].lifo) for key in chosen]
        answers = self.store.jobs.retry(asked, token=token)
        assert answers == self.world.retry(chosen)
        self.done.update(f"retry {answer.split()[0]}" for answer in answers)
        before = self.bench.contents()
        self.store.jobs.retry(asked, token=token)
        if all(self.world.jobs[key].state != "failed" for key in chosen):
            assert self.bench.contents() == before
        self.sent = []

    @precondition(lambda self: self.world.flows)
    @rule(data=st.data())
    def retry_flow(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(sorted(self.world.flows)))
        ledger = OwnFlowState(self.store, flow)
        self.world.catch_up(flow)
        ledger.catch_up()
        ledger.explore()  # a flow that took jobs over has more than it declared
        chosen = [
            key
            for key in ledger.shape.upwards()
            if key in self.world.jobs
            and self.world.jobs[key].state == "failed"
            and not self.world.jobs[key].unsuccessful
        ]
        answers = self.world.retry_flow(flow, chosen)
        refused = [answer for answer in answers if answer.startswith("parent-active")]
        assert _is_done(retry_flow, self.store, ledger) is not bool(refused)
        self.sent = []

    @precondition(lambda self: len(self.world.flows) > 1)
    @rule(data=st.data())
    def remove_flow(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(sorted(self.world.flows)))
        done = self.world.remove_flow(flow)
        assert _is_done(remove.remove_flow, self.store, flow) is done
        if done:
            self.done["flow removed"] += 1
            assert not [key for key in self.bench.redis.keys("*") if text(key).endswith(f":{flow}")]
        self.sent = []

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def remove_job(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.jobs)))
        assert _is_done(remove.remove_job, self.store, key) is self.world.remove_job(key)
        self.sent = []

    # ---- what must hold -----------------------------------------------------------------------------

    @invariant()
    def the_server_is_as_the_model(self) -> None:
        found = invariants.read(self.bench.redis)
        self.jobs_are_as_the_model(found)
        self.lines_stand_in_order(found)
        assert [str(violation) for violation in invariants.violations_in(found)] == []

    def jobs_are_as_the_model(self, found: invariants.Books) -> None:
        assert set(found.jobs) == set(self.world.jobs)
        where = found.where()
        for key, job in self.world.jobs.items():
            fields, sub = found.jobs[key], found.sub[key]
            assert [invariants.STATES[place] for place in where[key]] == [job.state], key
            shown = {
                "made": int(fields.get("atm", 0)),
                "starts": int(fields.get("ats", 0)),
                "value": fields.get("returnvalue"),
                "reason": fields.get("failedReason"),
                "why": fields.get("why"),
                "deferred": fields.get("defa"),
                "stalls": int(fields.get("stc", 0)),
                "alone": int(fields.get("alone", 0)),
                "unbegun": int(fields.get("unbegun", 0)),
                "suspect": "suspect" in fields,
                "first": fields.get("parentKey"),
                "flow": fields.get("fl", ""),
                "token": sub.get("lock"),
                "pending": set(sub.get("dependencies", ())),
                "values": sub.get("processed", {}),
                "ignored": sub.get("failed", {}),
                "unsuccessful": set(sub.get("unsuccessful", ())),
                "edges": {parent: policy for parent, policy, _ in found.edges(key)},
            }
            expected = {name: getattr(job, name) for name in shown} | {"unsuccessful": set(job.unsuccessful)}
            assert shown == expected, key

    def lines_stand_in_order(self, found: invariants.Books) -> None:
        for base, queue in self.world.queues.items():
            places = found.queues[base].places if base in found.queues else {}
            ids = {place: [f"{base}:{id}" for id, _ in entries] for place, entries in places.items()}
            assert ids.get("wait", [])[::-1] == queue.wait
            assert ids.get("paused", []) == queue.aside
            assert ids.get("prioritized", []) == [key for _, _, key in queue.ranked]
            assert ids.get("delayed", []) == [key for _, _, key in queue.delayed]

    @invariant()
    def flows_say_how_they_are(self) -> None:
        for flow, record in self.world.flows.items():
            root = self.store.jobs.read([record.root], ("name",))[0]
            assert state_of(self.store.flows.read(flow), root) == self.world.flow_state(flow), flow
            counts = {
                f"{queue} {state}": n
                for queue, states in self.store.flows.read_counts(flow).by_stage.items()
                for state, n in states.items()
                if n
            }
            assert counts == self.world.counts(flow), flow
            assert self.store.flows.read_end(flow) == (record.ended, record.cause), flow

    @invariant()
    def a_job_that_may_run_finds_its_childrens_values(self) -> None:
        ready = [
            job for job in self.world.jobs.values() if job.children and job.state in ("waiting", "active")
        ]
        for job in ready[:3]:
            record = self.store.jobs.read([job.key])[0]
            assert record is not None
            values = Handle(record, store=self.store).get_children_values()
            ended = [key for key in job.children if key in job.values or key in job.ignored]
            assert list(values) == [key.removeprefix(f"{PREFIX}:") for key in ended]
            for key in ended:
                expected = json.loads(job.values[key]) if key in job.values else None
                assert values[key.removeprefix(f"{PREFIX}:")] == expected

    @invariant()
    def the_last_event_of_each_job_says_its_state(self) -> None:
        for queue in QUEUES:
            stream = f"{PREFIX}:{queue}:events"
            for id, event in self.bench.redis.xrange(stream, min=f"({self.seen.get(stream, '0')}"):
                self.seen[stream] = text(id)
                fields = {text(name): text(value) for name, value in event.items()}
                if "jobId" in fields and fields["event"] in STATES_OF:
                    self.told[f"{PREFIX}:{queue}:{fields['jobId']}"] = fields["event"]
        for key, job in self.world.jobs.items():
            assert job.told in STATES_OF[self.told[key]], (key, self.told[key])

    def _take_all(self, queues: Sequence[str], alone: bool = False) -> list[Taken]:
        want = 1 if alone else 100
        taken = self.bench.take(*queues, want=want, alone=alone)
        bases = [f"{PREFIX}:{queue}" for queue in queues]
        expected = self.world.take(bases, want, f"w:{self.bench.calls}", alone=alone)
        assert [one.record.key for one in taken] == expected
        return taken

    def teardown(self) -> None:
        """Whatever happened, all that can run can be run to its end, and nothing waits for ever."""
        if sys.exc_info()[0] is not None:
            return  # a step went wrong; what comes after it would hide it
        assert doctor.lines(self.store, None, fix=False) == []
        bases = [f"{PREFIX}:{queue}" for queue in QUEUES]
        for flow, record in self.world.flows.items():
            if record.paused:
                self.store.flows.resume(bases, flow)
                self.world.resume_flow(flow, bases)
        for base in bases:
            self.store.queues.resume(base)
            queue = self.world.queues.setdefault(base, Queue())
            self.world.put_back(queue)
            queue.paused = False
        for run in self.held:
            self.bench.lose_lease(run)
            self.world.lose_lease(run.record.key)
        for _ in range(100):
            self.pass_time(100)
            self._sweep(most=1000)
            taken = self._take_all(QUEUES)
            if not taken:
                taken = [one for queue in QUEUES for one in self._take_all([queue], alone=True)]
            ends = [
                failed(run, run.deferred, why="child") if run.deferred else completed(run, '"end"')
                for run in taken
            ]
            for run, answer in zip(taken, self._finish(ends) if ends else [], strict=True):
                if answer != "done":
                    assert self._finish([failed(run, answer, why="child")]) == ["done"]
            if not taken and not any(queue.delayed for queue in self.world.queues.values()):
                break
        self.the_server_is_as_the_model()
        assert doctor.lines(self.store, None, fix=False) == []
        for job in self.world.jobs.values():
            assert job.state in ENDED, f"{job.key} is {job.state} for ever"


def _is_done(act: Callable[[Any, Any], None], store: Any, name: Any) -> bool:
    """Did it, or was it refused?"""
    try:
        act(store, name)
    except FlowError:
        return False
    return True


def _tree(nodes: list[dict[str, Any]], names: list[tuple[str, str]]) -> Node:
    """The nodes as a tree of mentions: one for each edge, all with the job's id, so that each has its own policy."""
    mentions: dict[tuple[int, int], Node] = {}

    def mention(i: int, above: int, policy: str) -> Node:
        if (i, above) not in mentions:
            queue, id = names[i]
            mentions[i, above] = Node(
                id, queue, None, {"jobId": id, **nodes[i]["timing"], **POLICIES[policy]}
            )
            below = [(j, one["under"][i]) for j, one in enumerate(nodes) if i in one["under"]]
            mentions[i, above].children = [mention(j, i, its) for j, its in below]
        return mentions[i, above]

    return mention(0, -1, "fpof")
