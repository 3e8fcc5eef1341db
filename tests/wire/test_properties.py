"""Whole flows under a model worker in random order: whatever happens, the books stay in order after every step."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flownb.wire.lease_records import Lease
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from tests.support import invariants
from tests.support.script_bench import (
    START,
    Bench,
    base,
    completed,
    failed,
    key,
    node,
    parent,
    put_off,
    retry,
    returned,
)

P = key("p", "up")
QUEUES = ("q", "up", "w")
POLICIES = ("fpof", "cpof", "idof", "rdof", "")


def tries(number: int) -> settings:
    """So many examples, the same ones each time."""
    unsuited = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=number, deadline=None, derandomize=True, suppress_health_check=unsuited)


def fresh(bench: Bench) -> None:
    bench.redis.flushall()
    bench.now = START


@tries(30)
@given(order=st.integers(1, 8).flatmap(lambda n: st.permutations(range(n))))
def test_only_the_last_child_wakes_the_parent(bench: Bench, order: list[int]):
    fresh(bench)
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(len(order))))
    taken = bench.take(want=len(order))

    woken = []
    for i in order:
        bench.finish(completed(taken[i], str(i)))
        woken.append(bench.redis.llen(key("wait", "up")))

    assert woken == [0] * (len(order) - 1) + [1]
    assert bench.hash(f"{P}:processed") == {key(f"c{i}"): str(i) for i in order}
    assert invariants.violations(bench.redis) == []


@st.composite
def graphs(draw: st.DrawFn) -> list[dict]:
    """A tree with shared jobs: each node hangs under earlier ones, with a policy for each; leaves have no children."""
    size = draw(st.integers(1, 9))
    under: list[dict[int, str]] = [{}]
    for i in range(1, size):
        above = draw(st.sets(st.integers(0, i - 1), min_size=1, max_size=min(i, 2)))
        under.append({j: draw(st.sampled_from(POLICIES)) for j in sorted(above)})
    places = [draw(st.sampled_from(QUEUES)) for _ in range(size)]
    nodes = []
    for i in range(size):
        edges = [(key(f"n{j}", places[j]), policy) for j, policy in under[i].items()]
        made = parent if any(i in above for above in under) else node
        timing = draw(st.sampled_from([{}, {}, {"delay": 50}, {"priority": 2}, {"lifo": True}]))
        nodes.append(made(f"n{i}", *edges, queue=places[i], **timing))
    return nodes


class Model:
    """A worker that takes, ends, loses and repeats as the dice say."""

    def __init__(self, bench: Bench, nodes: list[dict], dice: random.Random) -> None:
        self.bench = bench
        self.dice = dice
        self.nodes = nodes
        self.held: list[Taken] = []
        self.late: list[Taken] = []
        self.last: tuple[dict, ...] = ()
        self.again: dict[str, int] = {}

    def step(self) -> None:
        """Do one random thing."""
        acts = [self.take, self.take, self.end, self.end, self.end, self.lose, self.sweep, self.repeat]
        acts += [self.give_back, self.renew, self.add_again, self.forget_scripts, self.pass_time]
        self.dice.choice(acts)()

    def take(self) -> None:
        queues = self.dice.sample(QUEUES, self.dice.randint(1, 3))
        self.held += self.bench.take(*queues, want=self.dice.randint(1, 4))

    def end(self) -> None:
        """End some of what is held, and sometimes what was held once."""
        self.dice.shuffle(self.held)
        some = [self.held.pop() for _ in range(min(len(self.held), self.dice.randint(1, 3)))]
        if self.late and self.dice.random() < 0.5:
            some.append(self.late.pop())
        outcomes = [self.outcome(taken) for taken in some]
        answers = self.bench.finish(*outcomes, queues=QUEUES) if outcomes else []
        again = [
            failed(taken, "children", why="child")
            for taken, answer in zip(some, answers, strict=True)
            if answer in ("pending-children", "failed-children")
        ]
        if again:
            assert set(self.bench.finish(*again)) == {"done"}
        self.last = tuple(
            outcome for outcome, answer in zip(outcomes, answers, strict=True) if answer == "done"
        )

    def outcome(self, taken: Taken) -> Outcome:
        id, fate = taken.record.id, self.dice.random()
        if taken.deferred:
            return failed(taken, taken.deferred, why="child")
        if fate < 0.15 and self.again.setdefault(id, 2):
            self.again[id] -= 1
            return self.dice.choice(
                [retry(taken), retry(taken, delay=30), returned(taken), put_off(taken, 40)]
            )
        return (
            failed(taken, f"{id} broke") if fate < 0.4 else completed(taken, f'"{id} {self.dice.random()}"')
        )

    def lose(self) -> None:
        if self.held:
            taken = self.held.pop(self.dice.randrange(len(self.held)))
            self.bench.lose_lease(taken)
            self.late.append(taken)

    def sweep(self) -> None:
        self.bench.sweep(*QUEUES, most=1)

    def repeat(self) -> None:
        """The last call's answer was lost: it is sent again."""
        before = self.bench.contents()
        if self.last:
            assert set(self.bench.finish(*self.last)) == {"repeated"}
            assert self.bench.contents() == before

    def give_back(self) -> None:
        if self.held:
            taken = self.held.pop()
            id, token = taken.record.id, taken.token
            self.bench.store.leases.give_back(
                taken.base, [id], token=token, charge=bool(self.dice.randint(0, 1)), most=1
            )
            self.late.append(taken)

    def renew(self) -> None:
        leases = [Lease(one.base, one.record.id, one.token, one.record.attempts_started) for one in self.held]
        if leases:
            self.bench.store.leases.extend([base("q")], leases, lock_ms=30_000)

    def add_again(self) -> None:
        before = self.bench.contents()
        self.bench.add(*self.nodes)
        assert self.bench.contents() == before

    def forget_scripts(self) -> None:
        self.bench.redis.script_flush()

    def pass_time(self) -> None:
        self.bench.wait(self.dice.randint(1, 60))

    def drain(self) -> None:
        """End everything that can end."""
        for _ in range(200):
            self.bench.wait(100)
            self.sweep()
            self.sweep()
            self.held += self.bench.take(*QUEUES, want=100)
            if not self.held:
                if not any(self.bench.redis.exists(f"{base(queue)}:delayed") for queue in QUEUES):
                    return
                continue
            while self.held:
                self.end()
        raise AssertionError("it never ends")


def check(bench: Bench) -> None:
    assert [str(violation) for violation in invariants.violations(bench.redis)] == []


def check_the_end(bench: Bench, nodes: list[dict]) -> None:
    """A root that has not ended hangs as BullMQ's does: on a child that failed without a policy."""
    hung = {violation.key for violation in invariants.stuck(bench.redis)}
    found = invariants.read(bench.redis)
    places = found.where()
    for name in [*found.jobs]:
        if places[name][0] not in ("completed", "failed"):
            assert places[name] == ["waiting-children"]
            below = [name]
            for one in below:
                below += [
                    c
                    for c in found.sub[one]["dependencies"]
                    if places[c] == ["waiting-children"] and c not in below
                ]
            assert hung & set(below)
    root = key(nodes[0]["id"], nodes[0]["queue"])
    without = any(policy == "" for one in nodes for _, policy in one["under"])
    if not without:
        assert places[root][0] in ("completed", "failed")
    assert (bench.store.flows.read_end("f")[0] is None) is (places[root] == ["waiting-children"])


@tries(60)
@given(nodes=graphs(), seed=st.integers(0, 2**32), steps=st.integers(0, 40))
@example(nodes=[parent("n0"), node("n1", (key("n0"), ""))], seed=0, steps=0)
def test_any_flow_drained_in_any_order_ends_or_hangs_as_bullmq_says(
    bench: Bench, nodes: list[dict], seed: int, steps: int
):
    fresh(bench)
    bench.add(*nodes)
    model = Model(bench, nodes, random.Random(seed))
    check(bench)

    for _ in range(steps):
        model.step()
        check(bench)
    model.drain()

    check(bench)
    check_the_end(bench, nodes)


@tries(25)
@given(nodes=graphs(), more=graphs(), seed=st.integers(0, 2**32), steps=st.integers(0, 15))
def test_two_flows_that_share_jobs_both_end_and_count_right(
    bench: Bench, nodes: list[dict], more: list[dict], seed: int, steps: int
):
    """The second flow's leaves are jobs of the first, added while that runs."""
    fresh(bench)
    bench.add(*nodes, flow="f")
    model = Model(bench, nodes, random.Random(seed))
    for _ in range(steps):
        model.step()
    second = [renamed(one) for one in more]
    targets = [(one["id"], one["queue"]) for one in nodes]
    for i, one in enumerate(second):
        if not one["has_children"] and i:
            one["id"], one["queue"] = targets[i % len(targets)]
    unique = {(one["id"], one["queue"]): one for one in second}
    bench.add(*unique.values(), flow="g")
    check(bench)

    for _ in range(steps):
        model.step()
        check(bench)
    model.drain()

    check(bench)
    check_the_end(bench, nodes)


def renamed(one: dict) -> dict:
    under = [(above.replace(":n", ":m"), policy) for above, policy in one["under"]]
    return one | {"id": one["id"].replace("n", "m"), "under": under}


@tries(15)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=st.integers(0, 2**32), twice=st.booleans()
)
def test_a_parent_stored_in_chunks_never_wakes_before_the_last(
    bench: Bench, sizes: list[int], seed: int, twice: bool
):
    fresh(bench)
    dice, seal, n = random.Random(seed), "bull:flownb:seal:f", 0
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        children = [node(f"c{n + i}", (P, "idof")) for i in range(size)]
        n += size
        chunk = [parent("p", queue="up"), *children] if number == 0 else children
        for _ in range(1 + twice):
            bench.add(*chunk, seal=seal, unseal=[P] if last else [])
        if not last:
            for taken in bench.take(want=dice.randint(0, 9)):
                bench.finish(completed(taken, "1") if dice.random() < 0.6 else failed(taken))
            assert bench.state_of(P) == "waiting-children"
            check(bench)

    for taken in bench.take(want=99):
        bench.finish(completed(taken, "1"))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.redis.hlen(f"{P}:processed") + bench.redis.hlen(f"{P}:failed") == n
    check(bench)
