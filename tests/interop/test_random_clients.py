"""A flow of flownb's, and BullMQ's clients that do to its jobs what they like: its handle says what BullMQ says of the jobs."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flownb as fn
from tests.support.peers.process import PeerError

QUEUES = ("upper", "lower")
JOBS = {
    "top": "upper",
    "left": "upper",
    "right": "lower",
    "a": "lower",
    "b": "lower",
    "c": "lower",
    "late": "lower",
}
HOUR = 3_600_000
ENDS = ("completed", "failed")
PATIENCE = (
    30.0  # seconds until a handle has noticed; it checks its counts the less often the longer a check takes
)

jobs = st.sampled_from(sorted(JOBS))
whose = st.sampled_from(["node6", "python"])
#: What others may do between two rounds of work: to one job, to a queue, or by hand as a worker of their own.
single = st.one_of(
    st.tuples(jobs, st.sampled_from(["retry", "remove", "promote"]), st.just(())),
    st.tuples(jobs, st.just("updateData"), st.sampled_from([({"fails": False},), ({"fails": True},)])),
    st.tuples(jobs, st.just("changePriority"), st.sampled_from([({"priority": 0},), ({"priority": 3},)])),
    st.tuples(jobs, st.just("changeDelay"), st.sampled_from([(HOUR,), (1,)])),
)
whole = st.tuples(
    st.sampled_from(QUEUES),
    st.sampled_from(["drain", "retryJobs", "promoteJobs", "by_hand", "by_hand, failing"]),
)
steps = st.lists(
    st.one_of(st.just("work"), st.tuples(whose, single), st.tuples(whose, whole)), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def clients(start_peer):
    """Give BullMQ's clients; none of them works."""
    return {name: start_peer(name) for name in ("node6", "python")}


def tree(fails: set[str]) -> dict[str, Any]:
    """Three levels in two queues, a delayed job among them; some fail."""

    def node(name: str, *children: Any, **opts: Any) -> dict[str, Any]:
        made = {
            "name": name,
            "queueName": JOBS[name],
            "data": {"fails": name in fails},
            "opts": {"jobId": name, **opts},
        }
        return made | ({"children": list(children)} if children else {})

    left = node("left", node("a"), node("b", failParentOnFailure=False))
    return node("top", left, node("right", node("c", priority=2)), node("late", delay=HOUR))


def perform(job: fn.Job) -> Any:
    if job.data["fails"]:
        raise ValueError("as it was told")
    return job.name


def do(peers: Any, step: Any) -> None:
    """Do one step of others; what their library refuses was their mistake."""
    client, (what, method, *args) = step
    if method == "changeDelay":
        client = "node6"  # Python's jobs have no such method
    if method.startswith("by_hand"):
        peers["node6"].ask("by_hand", queue=what, fails=method.endswith("failing"))
        return
    try:
        if what in QUEUES:
            peers[client].ask("call", queue=what, method=method)
        else:
            peers[client].ask("call_job", queue=JOBS[what], id=what, method=method, args=args[0])
    except PeerError:
        pass


def work(until: Any, redis: Any) -> None:
    """Let flownb work until nothing is left to be done at once."""
    ready = [f"bull:{queue}:{word}" for queue in QUEUES for word in ("wait", "prioritized", "active")]
    with fn.Worker(QUEUES, perform, concurrency=2):
        until(lambda: not redis.exists(*ready))


class Told:
    """What BullMQ says of the flow's jobs, compared with the handle, which checks its counts now and then."""

    def __init__(self, flow: fn.Flow, peers: Any) -> None:
        self.flow = flow
        self.node = peers["node6"]
        self.ended: dict[str, str] = {}  # how jobs ended, also those that were removed since

    def states(self) -> dict[str, str]:
        """Return the jobs that are there, each with its state."""
        ask = self.node.ask
        found = {
            name: ask("call", queue=queue, method="getJobState", args=[name]) for name, queue in JOBS.items()
        }
        return {name: state for name, state in found.items() if state != "unknown"}

    def agrees(self) -> None:
        """Expect the same of the handle: of each job, in the counts, of the flow."""
        deadline = time.monotonic() + PATIENCE
        while "top" in (there := self.states()) and not self._same(there):
            assert time.monotonic() < deadline, (
                f"{self.flow.progress().counts}, {self.flow}, but it is {there}"
            )
            time.sleep(0.05)
        self.ended |= {name: state for name, state in there.items() if state in ENDS}

    def _same(self, there: dict[str, str]) -> bool:
        """Jobs that were removed after their end may still count; what has not begun counts as a whole."""
        counted = Counter[str]()
        for by_state in self.flow.progress().counts.by_stage.values():
            for state, n in by_state.items():
                counted[_coarse(state)] += n
        wanted = Counter(_coarse(state) for state in there.values())
        gone = Counter(state for name, state in self.ended.items() if name not in there)
        named = {job["name"]: job["state"] for _, job in self.flow.jobs().iterrows()}
        states = (there["top"],) if there["top"] in ENDS else (there["top"], "failing")
        return (
            not wanted - counted
            and not counted - wanted - gone
            and named == there
            and self.flow.state in states
        )


def _coarse(state: str) -> str:
    return state if state in (*ENDS, "active", "waiting-children") else "not begun"


@pytest.mark.timeout(300)
@given(steps=steps, fails=st.sets(st.sampled_from(["a", "b", "c", "left", "top"]), max_size=2))
@settings(max_examples=20, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flow_says_what_bullmq_says_of_its_jobs_whatever_others_did_to_them(
    steps, fails, clients, connection, redis, until
):
    redis.flushall()
    flow = fn.add(tree(fails))
    told = Told(flow, clients)
    told.agrees()
    for step in steps:
        if step == "work":
            work(until, redis)
        else:
            do(clients, step)
        told.agrees()

    do(clients, ("node6", ("lower", "promoteJobs")))
    do(clients, ("node6", ("upper", "promoteJobs")))
    work(until, redis)
    told.agrees()
    root = fn.Queue("upper").get_job("top")
    if root and root.get_state() in ENDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert flow.wait(timeout=30).state == root.get_state()
            if flow.state == "completed":
                assert flow.result() == root.returnvalue
            else:
                with pytest.raises(fn.FlowFailed):
                    flow.result()
        told.agrees()
