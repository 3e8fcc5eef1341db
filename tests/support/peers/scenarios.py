"""What every producer and every worker must be able to do together: each function below is a row of the matrix."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.peers.process import Peer
from tests.support.peers.stored import Stored

Scenario = Callable[["Cell"], None]
SCENARIOS: dict[str, Scenario] = {}
LIMITS: dict[
    str, Scenario
] = {}  # what happens instead where BullMQ's producer adds, and BullMQ has no such thing
STOCK = ("node6", "node5", "python")
FAN_OUT = 1000


def scenario(words: str, into: dict[str, Scenario] = SCENARIOS) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        into[words] = function
        return function

    return keep


class Cell:
    """One producer, one worker, an empty server; what one says and then expects."""

    def __init__(self, producer: Peer, worker: Peer, stored: Stored, start_peer: Callable[..., Peer]) -> None:
        self.producer = producer
        self.worker = worker
        self.stored = stored
        self.start_peer = start_peer
        self.patience = 60.0  # seconds; on a machine that others load, a stock worker may need them

    def node(self, name: str, queue: str, do: str, *children: Any, opts: Any = None, **data: Any) -> Any:
        """Describe a job on a queue that this cell's worker serves."""
        made = {"name": name, "queueName": self.queue(queue), "data": {"do": do, **data}, "opts": opts or {}}
        return made | {"children": list(children)} if children else made

    def queue(self, name: str) -> str:
        return f"{self.worker.name}-{name}"

    def reason(self, message: str) -> str:
        """Return what this cell's worker stores of a failure: flownb's tells the type of the error too."""
        return f"ValueError: {message}" if self.worker.kind == "flownb" else message

    def add_flow(self, tree: Any) -> None:
        self.producer.ask("add_flow", tree=tree)

    def add_jobs(self, queue: str, *jobs: Any) -> None:
        plain = [{part: job[part] for part in ("name", "data", "opts")} for job in jobs]
        self.producer.ask("add_jobs", queue=self.queue(queue), jobs=plain)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 0.0) -> bool:
        deadline = time.monotonic() + (seconds or self.patience)
        while not (true := condition()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return true

    def ends(self, **states: str) -> None:
        """Expect these jobs, by name, in these states, and no others."""
        wanted = {name.replace("_", "-"): state.replace("_", "-") for name, state in states.items()}
        if self.producer.kind == "flownb" and wanted.get("top") in ("completed", "failed"):
            assert self.producer.ask("flow_state") == wanted["top"], "its handle says so too"
        self.wait_until(lambda: self.stored.states() == wanted)
        assert self.stored.states() == wanted

    def got(self, name: str, *values: Any) -> None:
        """Expect that the job received these values of its children, in any order."""
        assert sorted(self.stored.jobs()[name].value["values"]) == sorted(values)

    def ran(self, **runs: int) -> None:
        """Expect that processors were called so often for these jobs, by name, and for no others."""
        wanted = {name.replace("_", "-"): count for name, count in runs.items() if count}
        assert Counter(self.stored.runs()) == wanted


@scenario("plain job")
def plain_job(cell: Cell) -> None:
    cell.add_jobs(
        "items", cell.node("plain", "items", "value", value={"text": "naïve ∑ 𝄞", "n": 1.5, "none": None})
    )
    cell.ends(plain="completed")
    assert cell.stored.jobs()["plain"].value == {"text": "naïve ∑ 𝄞", "n": 1.5, "none": None}
    cell.ran(plain=1)


@scenario("tree of three levels")
def tree_of_three_levels(cell: Cell) -> None:
    leaves = [cell.node(f"leaf-{i}", "items", "value", value=i) for i in range(4)]
    cell.add_flow(
        cell.node(
            "top",
            "top",
            "gather",
            cell.node("left", "middle", "gather", *leaves[:2]),
            cell.node("right", "middle", "gather", *leaves[2:]),
            cell.node("lone", "items", "value", value=7),
        )
    )
    names = ["top", "left", "right", "lone", "leaf_0", "leaf_1", "leaf_2", "leaf_3"]
    cell.ends(**dict.fromkeys(names, "completed"))
    cell.got("left", 0, 1)
    cell.got("right", 2, 3)
    received = cell.stored.jobs()["top"].value["values"]
    assert sorted(received, key=str) == sorted(
        [7, cell.stored.jobs()["left"].value, cell.stored.jobs()["right"].value], key=str
    )
    cell.ran(**dict.fromkeys(names, 1))


@scenario("fan-out of 1,000")
def fan_out(cell: Cell) -> None:
    rows = [cell.node(f"row-{i}", "items", "value", value=i) for i in range(FAN_OUT)]
    cell.add_flow(cell.node("top", "top", "gather", *rows))
    assert cell.wait_until(lambda: cell.stored.ended(cell.queue("top")) == 1, 90)
    cell.ends(top="completed", **{f"row_{i}": "completed" for i in range(FAN_OUT)})
    cell.got("top", *range(FAN_OUT))
    cell.ran(top=1, **{f"row_{i}": 1 for i in range(FAN_OUT)})


def one_child_fails(cell: Cell, **policy: bool) -> None:
    """A parent of a child that returns 1 and one that fails, of this policy."""
    well = cell.node("well", "line", "value", value=1)
    broken = cell.node("broken", "line", "fail", why="it broke", opts=policy)
    cell.add_flow(cell.node("top", "top", "gather", well, broken))


@scenario("a child fails: no policy")
def no_policy(cell: Cell) -> None:
    one_child_fails(cell)
    # flownb's flows fail with their child unless it is optional; in BullMQ's the parent waits until it is retried.
    top = "failed" if cell.producer.kind == "flownb" else "waiting_children"
    cell.ends(top=top, well="completed", broken="failed")
    cell.ran(well=1, broken=1)


@scenario("a child fails: failParentOnFailure")
def fail_parent(cell: Cell) -> None:
    one_child_fails(cell, failParentOnFailure=True)
    cell.ends(top="failed", well="completed", broken="failed")
    jobs = cell.stored.jobs()
    assert jobs["broken"].hash["failedReason"] == cell.reason("it broke")
    assert jobs["top"].hash["failedReason"] == f"child {jobs['broken'].key} failed"
    cell.ran(well=1, broken=1)


@scenario("a grandchild fails: failParentOnFailure on each level")
def fail_grandparent(cell: Cell) -> None:
    broken = cell.node("broken", "items", "fail", why="it broke", opts={"failParentOnFailure": True})
    middle = cell.node("middle", "middle", "gather", broken, opts={"failParentOnFailure": True})
    cell.add_flow(cell.node("top", "top", "gather", middle))
    cell.ends(top="failed", middle="failed", broken="failed")
    cell.ran(broken=1)


@scenario("a child fails: ignoreDependencyOnFailure")
def ignore_dependency(cell: Cell) -> None:
    one_child_fails(cell, ignoreDependencyOnFailure=True)
    cell.ends(top="completed", well="completed", broken="failed")
    cell.got("top", 1)
    jobs = cell.stored.jobs()
    ignored = cell.stored.redis.hgetall(f"{jobs['top'].key}:failed")
    assert ignored == {jobs["broken"].key.encode(): cell.reason("it broke").encode()}
    cell.ran(top=1, well=1, broken=1)


@scenario("a child fails: removeDependencyOnFailure")
def remove_dependency(cell: Cell) -> None:
    one_child_fails(cell, removeDependencyOnFailure=True)
    cell.ends(top="completed", well="completed", broken="failed")
    cell.got("top", 1)
    cell.ran(top=1, well=1, broken=1)


@scenario("a child fails: continueParentOnFailure")
def continue_parent(cell: Cell) -> None:
    late = cell.node("late", "items", "hold", value=1)
    broken = cell.node("broken", "items", "fail", why="it broke", opts={"continueParentOnFailure": True})
    cell.add_flow(cell.node("top", "top", "outlast", late, broken))
    assert cell.wait_until(lambda: "top" in cell.stored.runs())  # while the other child runs
    assert cell.stored.states() == {"top": "active", "late": "active", "broken": "failed"}
    cell.stored.redis.set("test:open", 1)
    cell.ends(top="completed", late="completed", broken="failed")
    cell.got("top", 1)
    cell.ran(top=1, late=1, broken=1)


@scenario("attempts with backoff")
def attempts_with_backoff(cell: Cell) -> None:
    backoff = {"type": "exponential", "delay": 20}
    mends = cell.node(
        "mends", "items", "fail_first", times=2, value=5, opts={"attempts": 3, "backoff": backoff}
    )
    never = cell.node(
        "never",
        "items",
        "fail",
        why="it broke",
        opts={"attempts": 2, "backoff": {"type": "fixed", "delay": 20}, "ignoreDependencyOnFailure": True},
    )
    hopeless = cell.node(
        "hopeless", "items", "give_up", why="no use", opts={"attempts": 5, "ignoreDependencyOnFailure": True}
    )
    cell.add_flow(cell.node("top", "top", "gather", mends, never, hopeless))
    cell.ends(top="completed", mends="completed", never="failed", hopeless="failed")
    cell.got("top", 5)
    cell.ran(top=1, mends=3, never=2, hopeless=1)
    jobs = cell.stored.jobs()
    assert [jobs[name].hash["atm"] for name in ("mends", "never", "hopeless")] == ["3", "2", "1"]


@scenario("priority")
def priority(cell: Cell) -> None:
    cell.producer.ask("pause", queue=cell.queue("line"))
    asked = {"last": 2_000_000, "second": 2, "first": 1, "also-second": 2, "at-once": None}
    for name, rank in asked.items():
        opts = {"priority": rank} if rank else {}
        cell.add_jobs("line", cell.node(name, "line", "value", value=0, opts=opts))
    cell.producer.ask("resume", queue=cell.queue("line"))
    cell.ends(**{name.replace("-", "_"): "completed" for name in asked})
    assert cell.stored.runs() == ["at-once", "first", "second", "also-second", "last"]


@scenario("delay")
def delay(cell: Cell) -> None:
    soon = cell.node("soon", "line", "value", value=1, opts={"delay": 50})
    later = cell.node("later", "line", "value", value=2, opts={"delay": 150})
    cell.add_flow(cell.node("top", "top", "gather", later, soon, opts={"delay": 50}))
    cell.ends(top="completed", soon="completed", later="completed")
    cell.got("top", 1, 2)
    jobs = {name: job.hash for name, job in cell.stored.jobs().items()}
    due = {name: int(jobs[name]["timestamp"]) + delay for name, delay in (("later", 150), ("soon", 50))}
    assert cell.stored.runs() == [*sorted(due, key=lambda name: due[name]), "top"]
    waited = {name: int(job["processedOn"]) - int(job["timestamp"]) for name, job in jobs.items()}
    assert waited["soon"] >= 50
    assert waited["later"] >= 150
    assert waited["top"] >= 200  # from its release on


@scenario("custom ids")
def custom_ids(cell: Cell) -> None:
    child = cell.node("child", "items", "value", value=1, opts={"jobId": "order-17"})
    tree = cell.node("top", "top", "gather", child, opts={"jobId": "report_2026.11"})
    cell.add_flow(tree)
    cell.ends(top="completed", child="completed")
    cell.add_flow(tree)
    cell.add_jobs("items", child)
    cell.ends(top="completed", child="completed")
    jobs = cell.stored.jobs()
    assert jobs["top"].key == f"bull:{cell.queue('top')}:report_2026.11"
    assert jobs["child"].key == f"bull:{cell.queue('items')}:order-17"
    cell.ran(top=1, child=1)


@scenario("job removed on completion")
def removed_on_completion(cell: Cell) -> None:
    gone = [
        cell.node(f"gone-{i}", "items", "value", value=i, opts={"removeOnComplete": True}) for i in range(3)
    ]
    cell.add_flow(cell.node("top", "top", "gather", *gone))
    cell.ends(top="completed")
    cell.got("top", 0, 1, 2)
    cell.ran(top=1, gone_0=1, gone_1=1, gone_2=1)


@scenario("paused queue")
def paused_queue(cell: Cell) -> None:
    cell.producer.ask("pause", queue=cell.queue("line"))
    cell.add_jobs("line", cell.node("held", "line", "value", value=1))
    cell.add_jobs("items", cell.node("free", "items", "value", value=2))
    cell.ends(held="waiting", free="completed")
    cell.producer.ask("resume", queue=cell.queue("line"))
    cell.ends(held="completed", free="completed")
    cell.ran(held=1, free=1)


@scenario("children added at run time")
def children_at_run_time(cell: Cell) -> None:
    new = [cell.node(f"new-{i}", "items", "hold", value=i) for i in range(3)]
    cell.add_flow(cell.node("top", "top", "gather", cell.node("grows", "middle", "grow", children=new)))
    cell.ends(
        top="waiting_children", grows="waiting_children", new_0="active", new_1="active", new_2="active"
    )
    cell.stored.redis.set("test:open", 1)
    cell.ends(top="completed", grows="completed", new_0="completed", new_1="completed", new_2="completed")
    cell.got("grows", 0, 1, 2)
    cell.ran(top=1, grows=2, new_0=1, new_1=1, new_2=1)


@scenario("stalled worker (killed)")
def stalled_worker(cell: Cell) -> None:
    queue = f"doomed-by-{cell.producer.name}"  # of this cell alone
    soon = {"stalledInterval": 200}
    doomed = cell.start_peer(cell.worker.kind)
    doomed.ask("work", queue=cell.queue(queue), **soon)
    cell.add_flow(cell.node("top", "top", "gather", cell.node("held", queue, "hold", value=7)))
    assert cell.wait_until(lambda: cell.stored.runs() == ["held"]), "it runs with the worker that is killed"
    doomed.kill()
    # Its lease ends here: a short one could end before, while a loaded machine lets nobody renew it.
    cell.stored.redis.delete(f"{cell.stored.jobs()['held'].key}:lock")
    cell.stored.redis.set("test:open", 1)
    cell.worker.ask("work", queue=cell.queue(queue), **soon)
    cell.ends(top="completed", held="completed")
    cell.got("top", 7)
    cell.ran(top=1, held=2)
    assert cell.stored.jobs()["held"].hash["stc"] == "1"


def with_a_shared_child(cell: Cell) -> Any:
    """Two parents of one job; one of them has another child too."""
    shared = cell.node("shared", "items", "hold", value=1, opts={"jobId": "shared-1"})
    return cell.node(
        "top",
        "top",
        "gather",
        cell.node("first", "middle", "gather", shared),
        cell.node("second", "middle", "gather", shared, cell.node("other", "items", "value", value=2)),
        cell.node("third", "middle", "gather", shared),
    )


@scenario("shared child")
def shared_child(cell: Cell) -> None:
    cell.add_flow(with_a_shared_child(cell))
    cell.stored.redis.set("test:open", 1)
    names = ("top", "first", "second", "third", "shared", "other")
    cell.ends(**dict.fromkeys(names, "completed"))
    cell.got("first", 1)
    cell.got("second", 1, 2)
    cell.got("third", 1)
    cell.ran(**dict.fromkeys(names, 1))


@scenario("shared child", LIMITS)
def shared_child_of_a_stock_producer(cell: Cell) -> None:
    """Nothing is said; the second parent runs without the value, the third one waits for ever, and so does the top."""
    cell.add_flow(with_a_shared_child(cell))
    assert cell.wait_until(lambda: "second" in cell.stored.runs())
    cell.stored.redis.set("test:open", 1)
    ended = dict.fromkeys(("first", "second", "shared", "other"), "completed")
    cell.ends(top="waiting_children", third="waiting_children", **ended)
    cell.got("first", 1)
    cell.got("second", 2)
    third = cell.stored.jobs()["third"].key
    assert not cell.stored.redis.exists(f"{third}:dependencies"), "it waits for nothing"
    cell.ran(first=1, second=1, shared=1, other=1)
