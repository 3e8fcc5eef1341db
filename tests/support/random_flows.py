"""Any flow under a model worker: trees with shared jobs are drawn, taken, ended, lost and repeated as the dice say."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from flownb.wire.lease_records import Death, Lease
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

QUEUES = ("q", "up", "w")
POLICIES = ("fpof", "cpof", "idof", "rdof", "")


def tries(number: int) -> settings:
    """So many examples, the same ones each time."""
    unsuited = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=number, deadline=None, derandomize=True, suppress_health_check=unsuited)


def fresh(bench: Bench) -> None:
    bench.redis.flushall()
    bench.now = START


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
            self.bench.store.leases.give_back(
                taken.base,
                {taken.record.id: taken.token},
                death=Death("begun") if self.dice.randint(0, 1) else None,
                most=1,
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


def renamed(one: dict) -> dict:
    under = [(above.replace(":n", ":m"), policy) for above, policy in one["under"]]
    return one | {"id": one["id"].replace("n", "m"), "under": under}
