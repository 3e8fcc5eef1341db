"""Whole flows under a model worker in random order: whatever happens, everything stored stays in order after every step."""

from __future__ import annotations

import random

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import invariants
from tests.support.random_flows import (
    Model,
    check,
    check_the_end,
    fresh,
    graphs,
    renamed,
    tries,
)
from tests.support.script_bench import (
    Bench,
    completed,
    failed,
    key,
    node,
    parent,
)

P = key("p", "up")


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
