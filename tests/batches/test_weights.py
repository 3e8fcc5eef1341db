"""Shows that a queue's limits by weight bind all workers together, and what a row weighs is known before it is stored."""

from __future__ import annotations

import json
from collections import defaultdict

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")

TEXTS = pd.DataFrame(
    {"text": ["ab", "abcd", "abcdef", "a"], "size": [2, 4, 6, 1]}, index=["a", "b", "c", "d"]
)


def weights_of(redis, queue):
    """Return what the jobs of a queue weigh, those that were added first first."""
    ids = reversed(redis.lrange(f"bull:{queue}:wait", 0, -1))
    return [(redis.hget(f"bull:{queue}:{id.decode()}", "wt") or b"").decode() for id in ids]


@pytest.mark.parametrize(
    "weight",
    [
        {"tokens": "size"},
        {"tokens": lambda text: len(text)},
        {"tokens": lambda size, factor=1: size * factor},
        {"tokens": lambda text, size: (len(text) + size) / 2},
    ],
    ids=["a column", "a function", "a function of a column that does not travel", "of both"],
)
def test_rows_weigh_what_a_column_or_a_function_says(redis, weight):
    @fn.task(queue="provider", limiter="100 tokens/h", weight=weight)
    def ask(text):
        return text

    fn.Queue("provider").pause()
    fn.fan_out(TEXTS, ask)
    assert weights_of(redis, "provider") == ["tokens=2", "tokens=4", "tokens=6", "tokens=1"]
    assert redis.hget("bull:provider:meta", "limits") == b"100 3600000 tokens"


def test_a_call_may_say_its_own_limit_and_weight_also_for_a_queue_that_others_serve(redis):
    fn.fan_out(TEXTS, "elsewhere", limiter=("5/s", "100 tokens/min"), weight={"tokens": "size", "usd": 0.5})
    assert weights_of(redis, "elsewhere")[0] == "tokens=2 usd=0.5"
    meta = redis.hgetall("bull:elsewhere:meta")
    assert (meta[b"max"], meta[b"duration"], meta[b"limits"]) == (b"5", b"1000", b"100 60000 tokens")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_what_begins_in_a_window_weighs_no_more_than_the_limit_with_all_workers_and_retries(redis, executor):
    failed = set()

    @fn.task(queue="provider", attempts=2, limiter=("100/s", "10 tokens/s"), weight={"tokens": "n"})
    def ask(n, i):
        if executor == "threads" and i % 3 == 0 and i not in failed:
            failed.add(i)
            raise ConnectionError("again")
        return i

    rows = pd.DataFrame({"n": [1, 2, 3, 4] * 4, "i": range(16)})
    with fn.workers(4, executor=executor), fn.Worker("provider", lambda job: ask(**job.data), concurrency=2):
        batch = fn.fan_out(rows, ask)
        assert batch.results(timeout=100)["ask"].tolist() == list(range(16))
    starts = defaultdict(
        list
    )  # by the job; one that was given back before its function was called comes first
    for id, event in redis.xrange("bull:provider:events"):
        if event[b"event"] == b"active":
            starts[event[b"jobId"]].append(int(id.split(b"-")[0]))
    began = []
    for job, times in starts.items():
        data, weight = redis.hmget(b"bull:provider:" + job, "data", "wt")
        calls = 2 if json.loads(data)["i"] in failed else 1
        assert len(times) >= calls
        began += [(at, int(weight.split(b"=")[1])) for at in times[-calls:]]
    began.sort()
    first, total = began[0][0], 0
    for at, weight in began:
        total += weight
        assert total <= 10 * ((at - first + 2) // 1000 + 1)  # 2 ms are for two clock readings
    assert len(began) == 16 + (6 if executor == "threads" else 0)


def test_coroutines_are_limited_too(redis):
    @fn.task(queue="provider", limiter="3 tokens/s", weight={"tokens": 1})
    async def ask(n):
        return n

    fn.fan_out(range(7), ask).results(timeout=60)
    began = [
        int(id.split(b"-")[0])
        for id, event in redis.xrange("bull:provider:events")
        if event[b"event"] == b"active"
    ]
    assert began[3] - began[0] >= 998
    assert began[6] - began[0] >= 1998


@pytest.mark.parametrize("given", ["on the task", "with the call", "before"])
def test_a_row_that_is_heavier_than_the_limit_is_refused_before_anything_is_stored(redis, given):
    limiter = {"limiter": "5 tokens/min"}
    on_task, with_call = (
        (limiter, {}) if given == "on the task" else ({}, limiter if given == "with the call" else {})
    )

    @fn.task(queue="provider", weight={"tokens": lambda text: len(text)}, **on_task)
    def ask(text):
        return text

    if given == "before":
        fn.fan_out(TEXTS.iloc[:1], ask, **limiter).wait(timeout=30)
    before = sorted(redis.keys("*"))
    says = "row 'c': weighs 6 tokens|row 'c' weighs 6 tokens, more than the limit of queue 'provider' lets begin: 5 tokens a minute"
    for call in (
        lambda: fn.fan_out(TEXTS, ask, **with_call),
        lambda: fn.fan_out(TEXTS, ask, dry_run=True, **with_call),
    ):
        with pytest.raises(fn.FlowError, match=says):
            call()
    assert sorted(redis.keys("*")) == before


def test_what_a_row_weighs_is_refused_with_its_label_where_it_is_no_weight():
    def call(weight, rows=TEXTS):
        @fn.task
        def ask(text):
            return text

        return fn.fan_out(rows, ask, weight=weight, limiter="9 tokens/s")

    with pytest.raises(fn.FlowError, match=r"row 'a': its weight in tokens: a number from 0 to .*, not 'ab'"):
        call({"tokens": "text"})
    with pytest.raises(fn.FlowError, match=r"row 'b': its weight in tokens: a number from 0 to .*, not -1"):
        call({"tokens": lambda size: 3 - size})
    with pytest.raises(
        fn.FlowError, match=r"row 'a': its weight in tokens cannot be told: ZeroDivisionError"
    ):
        call({"tokens": lambda size: size / 0})
    with pytest.raises(fn.FlowError, match=r"weight: no column has the name 'sizes'; did you mean 'size'?"):
        call({"tokens": "sizes"})
    missing = TEXTS.assign(size=[2, None, 1, 1])
    with pytest.raises(fn.FlowError, match=r"row 'b': its weight in tokens: a number .*, not None"):
        call({"tokens": "size"}, missing)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limiter": "tokens/min"}, "is no rate; write '5/s', '100/min' or, of a unit, '60000 tokens/min'"),
        ({"limiter": ("5/s", "7/s")}, "two limits count the same in the same time"),
        ({"limiter": "0 tokens/s"}, "more than 0"),
        ({"limiter": "5/0s"}, "a window is at least 1 ms"),
        ({"weight": 12}, "what a call weighs by unit, as in {'tokens': 12}, not 12"),
        ({"weight": {}}, "what a call weighs by unit"),
        ({"weight": {"to kens": 1}}, "a unit is a short name"),
        ({"weight": {"calls": 1}}, "a unit is a short name"),
        ({"weight": {"tokens": -1}}, "a number from 0"),
        ({"weight": {"tokens": float("nan")}}, "a number from 0"),
        ({"weight": {"tokens": True}}, "a number from 0"),
        ({"weight": {"tokens": lambda *texts: 1}}, "named like one of the task's, or a column, not *texts"),
    ],
    ids=range(12),
)
def test_limits_and_weights_that_cannot_be_are_refused_where_they_are_said(options, says):
    with pytest.raises(fn.OptionError) as refusal:
        fn.task(**options)(lambda_of_a_name)
    assert says in str(refusal.value)


def lambda_of_a_name(n):
    return n


def test_limits_of_a_task_end_with_it_and_those_of_a_call_stay(redis):
    def limits():
        return redis.hmget("bull:provider:meta", "max", "limits", "limiter-of")

    def ask(n):
        return n

    fn.fan_out([1], fn.task(queue="provider", limiter=("9/s", "50/min", "8 tokens/s"))(ask)).wait(timeout=30)
    assert limits() == [b"50", b"9 1000 calls;8 1000 tokens", b"task"]
    fn.fan_out([2], fn.task(queue="provider")(ask)).wait(timeout=30)
    assert limits() == [None, None, None]
    again = fn.task(queue="provider", limiter="9 tokens/s")(ask)
    fn.fan_out([3], again, limiter="70/min").wait(timeout=30)
    assert limits() == [b"70", None, None]
    fn.fan_out([4], again).wait(timeout=30)
    assert limits() == [b"70", None, None]
    fn.fan_out([5], again, limiter=None).wait(timeout=30)
    assert limits() == [None, b"9 1000 tokens", b"task"]


def test_a_node_weighs_what_its_arguments_say_and_one_with_a_childs_value_is_weighed_before_it_begins(redis):
    @fn.task
    def fetch(n):
        return "x" * n

    @fn.task(queue="provider", limiter="10 tokens/h", weight={"tokens": lambda text: len(text)})
    def ask(text, model="m"):
        return len(text)

    @fn.task
    def total(lengths):
        return sum(lengths)

    flow = fn.add(total.node([ask.node("abc"), ask.node(fetch.node(5))]))
    assert flow.result(timeout=60) == 8
    stored = sorted(
        redis.hget(key, "wt").decode()
        for key in redis.keys("bull:provider:*")
        if redis.type(key) == b"hash" and redis.hexists(key, "wt")
    )
    assert stored == ["tokens=3", "tokens=5"]
    assert redis.hget("bull:flownb:used:bull:provider", "tokens/3600000").split()[1] == b"8"
    with pytest.raises(
        fn.FlowError, match=r"ask.node\(\) weighs 11 tokens, more than the limit of queue 'provider'"
    ):
        ask.node("x" * 11)
    heavy = fn.add(ask.node(fetch.node(11)))
    with pytest.raises(fn.FlowFailed, match="weighs 11 tokens, more than the limit"):
        heavy.result(timeout=60)


def test_rows_of_one_call_weigh_together(redis):
    @fn.task(queue="provider", batch_size=2, limiter="100 tokens/h", weight={"tokens": "size"})
    def ask(text, size):
        return text

    fn.Queue("provider").pause()
    fn.fan_out(TEXTS, ask)
    assert weights_of(redis, "provider") == ["tokens=6", "tokens=7"]


def test_a_full_limit_is_told_with_its_end_by_explain_and_lists(until):
    @fn.task(queue="provider", limiter="10 tokens/h", weight={"tokens": "size"})
    def ask(text, size):
        fn.spend(tokens=size + 1)
        return text

    batch = fn.fan_out(TEXTS, ask, name="nov")
    until(lambda: batch.progress().completed == 2)
    says = "queue 'provider' is limited until .* UTC, for .* more: 8 of 10 tokens an hour are used up, and its next job weighs 6"
    until(lambda: batch.explain()["why"].str.contains(says).any())
    assert pd.Series([fn.flows().loc[0, "why"]]).str.contains(says).all()
    fn.fan_out(TEXTS, ask, name="nov", limiter="100 tokens/h")
    assert len(batch.results(timeout=60).dropna()) == 4
