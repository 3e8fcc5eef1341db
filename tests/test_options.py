"""Options: checked once, with the place in the message; read back from the wire without complaint."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

from flownb.arguments import milliseconds, seconds
from flownb.errors import OptionError
from flownb.options import Backoff, JobOptions, Keep

WHERE = "root/left[3].opts"


def read(**opts: object) -> JobOptions:
    return JobOptions.read(opts, WHERE)


def test_no_options_are_bullmqs_defaults():
    for none in (None, {}):
        options = JobOptions.read(none, WHERE)
        assert (options.attempts, options.delay, options.priority, options.lifo) == (0, 0, 0, False)
        assert (options.policy, options.timeout, options.job_id) == (None, None, None)
        assert options.wire == {"attempts": 0}


def test_options_are_stored_under_bullmqs_short_keys_and_nothing_else_is_renamed():
    options = read(
        attempts=3,
        backoff={"type": "exponential", "delay": 1000, "jitter": 0.5},
        priority=2,
        delay=500,
        lifo=True,
        stackTraceLimit=1,
        keepLogs=5,
        sizeLimit=100,
        timeout=900,
        jobId="a",
        failParentOnFailure=True,
    )

    assert options.wire == {
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 1000, "jitter": 0.5},
        "priority": 2,
        "delay": 500,
        "lifo": True,
        "stackTraceLimit": 1,
        "kl": 5,
        "sizeLimit": 100,
        "timeout": 900,
        "fpof": True,
    }
    assert options.job_id == "a"


def test_snake_case_means_the_same():
    assert read(stack_trace_limit=1, keep_logs=2, job_id="a", ignore_dependency_on_failure=True) == read(
        stackTraceLimit=1, keepLogs=2, jobId="a", ignoreDependencyOnFailure=True
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("attemps", "did you mean 'attempts'"),
        ("failParentOnFailur", "did you mean 'failParentOnFailure'"),
        ("zzz", "there are attempts, backoff"),
        (5, "no such option"),
        ("removeOnCompleted", "did you mean 'removeOnComplete'"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(given: object, says: str):
    with pytest.raises(OptionError, match=says) as caught:
        JobOptions.read({given: 1}, WHERE)  # type: ignore[dict-item]
    assert str(caught.value).startswith(f"{WHERE}.{given}: ")
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", bad) for bad in (-1, 2.5, "x", True, 10**9, [1])),
        *(("priority", bad) for bad in (-1, 1.5, 2**21 + 1, 2**21, True, "high")),
        *(("delay", bad) for bad in (-5, math.inf, math.nan, "x", 10**18, True, [1], timedelta(-1))),
        *(("timeout", bad) for bad in (0, -1, math.nan, "soon", timedelta(0))),
        *(("lifo", bad) for bad in (1, "yes", 0)),
        *(("jobId", bad) for bad in (7, b"a")),
        *(("keepLogs", bad) for bad in (0, -1, 1.5)),
        *(("stackTraceLimit", bad) for bad in (-1, True)),
        *(("sizeLimit", bad) for bad in (0, "1kB")),
        *(("failParentOnFailure", bad) for bad in (1, "true")),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(name: str, value: object):
    with pytest.raises(OptionError, match=rf"^root/left\[3\]\.opts\.{name}: "):
        read(**{name: value})


@pytest.mark.parametrize("value", [0.2, "0.2ms", timedelta(microseconds=200), np.float64(0.5), 1e-9])
@pytest.mark.parametrize("name", ["delay", "timeout", "backoff"])
def test_seconds_given_as_milliseconds_are_refused_and_do_not_count_as_none(name: str, value: object):
    with pytest.raises(OptionError, match=r"is less than a millisecond; seconds are text, such as '0\.2s'"):
        read(**{name: value})


@pytest.mark.parametrize(("value", "ms"), [(0, 0), ("0s", 0), (1, 1), (1.4, 1), ("1ms", 1), ("0.2s", 200)])
def test_a_millisecond_and_no_time_at_all_are_taken(value: object, ms: int):
    assert read(delay=value).delay == ms


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-3, "not between 0 and ten years"),
        ({"type": "nope", "delay": 1}, "'fixed', 'exponential' or 'custom'"),
        ({"type": "fixed", "delay": -3}, "not between 0 and ten years"),
        ({"type": "fixed", "delay": 1, "jitter": 2}, "from 0 to 1"),
        ({"type": "fixed", "delay": 1, "jitter": -0.1}, "from 0 to 1"),
        ({"type": "fixed", "delay": 1, "jitter": True}, "from 0 to 1"),
        ({"type": "fixed", "wait": 1}, "no such part 'wait'"),
        ("quick", "no backoff; write 'exponential 1s'"),
        ("exponential soon", "no duration"),
        (True, "a duration is"),
        ([1], "a duration is"),
    ],
)
def test_a_backoff_that_does_not_fit_is_refused(value: object, says: str):
    with pytest.raises(OptionError, match=says) as caught:
        read(backoff=value)
    assert str(caught.value).startswith(f"{WHERE}.backoff: ")


@pytest.mark.parametrize(
    ("value", "backoff"),
    [
        (1000, Backoff(delay=1000)),
        ("2s", Backoff(delay=2000)),
        (timedelta(seconds=2), Backoff(delay=2000)),
        ("exponential 1s", Backoff(type="exponential", delay=1000)),
        ("fixed 500ms", Backoff(delay=500)),
        ({"type": "exponential", "delay": "1m"}, Backoff(type="exponential", delay=60_000)),
    ],
)
def test_a_backoff_may_be_written_in_many_ways(value: object, backoff: Backoff):
    assert read(backoff=value).backoff == backoff


def test_a_backoff_grows_as_bullmqs_does_and_never_without_end():
    assert [Backoff(delay=7).wait_ms(n) for n in (1, 2, 3)] == [7, 7, 7]
    assert [Backoff(type="exponential", delay=1000).wait_ms(n) for n in (1, 2, 3, 4)] == [
        1000,
        2000,
        4000,
        8000,
    ]
    assert Backoff(type="exponential", delay=1000).wait_ms(10_000) <= 10 * 366 * 86_400_000
    waits = {Backoff(delay=1000, jitter=0.5).wait_ms(1) for _ in range(200)}
    assert min(waits) >= 500
    assert max(waits) <= 1000
    assert len(waits) > 10


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        ({}, None),
        ({"failParentOnFailure": True}, "fpof"),
        ({"failParentOnFailure": False}, "idof"),
        ({"continueParentOnFailure": True}, "cpof"),
        ({"ignoreDependencyOnFailure": True}, "idof"),
        ({"removeDependencyOnFailure": True}, "rdof"),
        ({"removeDependencyOnFailure": False}, None),
        ({"failParentOnFailure": False, "removeDependencyOnFailure": True}, "rdof"),
    ],
)
def test_one_policy_is_chosen(flags: dict[str, bool], policy: str | None):
    options = read(**flags)

    assert options.policy == policy
    assert {word for word in ("fpof", "cpof", "idof", "rdof") if word in options.wire} == ({policy} - {None})


def test_two_policies_contradict_each_other():
    with pytest.raises(OptionError, match="failParentOnFailure and continueParentOnFailure contradict"):
        read(failParentOnFailure=True, continueParentOnFailure=True)


@pytest.mark.parametrize(
    "pair", [("attempts", "attempts"), ("jobId", "job_id"), ("delay", "delay"), ("lifo", "lifo")]
)
def test_an_option_in_both_spellings_is_refused_or_one(pair: tuple[str, str]):
    values = {"attempts": 1, "jobId": "a", "delay": 1, "lifo": True}
    first, second = pair
    if first == second:
        assert read(**{first: values[first]})
    else:
        with pytest.raises(OptionError, match="given twice"):
            read(**{first: values[first], second: values[first]})


def test_a_none_is_as_if_it_were_not_there():
    assert read(attempts=None, delay=None, backoff=None, failParentOnFailure=None) == read()


@pytest.mark.parametrize("opts", [[1], "attempts=3", 5])
def test_options_are_a_dict(opts: object):
    with pytest.raises(OptionError, match="opts is a dict, not"):
        JobOptions.read(opts, WHERE)  # type: ignore[arg-type]


def test_what_was_stored_is_read_back():
    options = read(attempts=3, backoff="exponential 1s", keepLogs=2, timeout=70, lifo=True)

    found = JobOptions.from_wire(options.wire)

    assert (found.attempts, found.backoff, found.keep_logs) == (3, options.backoff, 2)
    assert (found.timeout, found.lifo) == (70, True)


@pytest.mark.parametrize(
    "stored",
    [
        {"attempts": "3", "delay": 5},
        {"attempts": -1, "backoff": {"type": 7}, "delay": 5},
        {"backoff": {"type": "fixed", "delay": "x"}, "unknown": {"a": 1}, "delay": 5},
        {"parent": {"id": "p", "queue": "bull:q"}, "repeat": {}, "delay": 5, "fpof": True},
        {"delay": 5, "kl": -1, "stackTraceLimit": None},
    ],
)
def test_a_foreign_producers_odd_values_are_as_if_they_were_not_there(stored: dict[str, object]):
    found = JobOptions.from_wire(stored)

    assert (found.delay, found.attempts, found.backoff) == (5, 0, Backoff())


@pytest.mark.parametrize(
    ("value", "secs"),
    [(1, 1.0), (2.5, 2.5), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("500ms", 0.5), ("1d", 86_400.0)],
)
def test_a_bare_number_is_seconds_in_python_and_milliseconds_on_the_wire(value: object, secs: float):
    assert seconds(value, "x") == secs
    assert milliseconds(value, "x") == round(secs if isinstance(value, (int, float)) else secs * 1000)
    assert seconds(timedelta(seconds=secs), "x") == secs


@pytest.mark.parametrize(
    ("given", "means", "stored"),
    [
        (True, Keep(count=0), True),
        (False, None, False),
        (0, Keep(count=0), 0),
        (5, Keep(count=5), 5),
        ({"age": 3600}, Keep(age=3600), {"age": 3600}),
        ({"age": "1h", "count": 9}, Keep(age=3600, count=9), {"age": 3600, "count": 9}),
        ({"count": 9, "limit": 5}, Keep(count=9, limit=5), {"count": 9, "limit": 5}),
    ],
    ids=str,
)
def test_removal_is_said_as_in_bullmq_and_stored_only_for_it(given: object, means: object, stored: object):
    options = JobOptions.read({"removeOnComplete": given, "remove_on_fail": given}, "root")
    assert (options.remove_on_complete, options.remove_on_fail) == (means, means)
    assert options.bullmq == {"attempts": 0, "removeOnComplete": stored, "removeOnFail": stored}
    assert options.wire == {"attempts": 0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (-1, "a whole number from 0"),
        ("yes", "a whole number from 0"),
        ({}, "nothing is said; there are age, count and limit"),
        ({"ages": 1}, "no such part 'ages'"),
        ({"count": True}, "removeOnFail.count: a whole number"),
        ({"age": -1}, "removeOnFail.age: -1 is not between"),
    ],
    ids=str,
)
def test_removal_that_means_nothing_is_refused(given: object, says: str):
    with pytest.raises(OptionError, match=says):
        JobOptions.read({"removeOnFail": given}, "root")


def test_bullmqs_own_form_keeps_the_id_and_an_explicit_false():
    options = JobOptions.read({"jobId": "a", "failParentOnFailure": False, "lifo": True}, "root")
    assert options.bullmq == {"attempts": 0, "jobId": "a", "fpof": False, "lifo": True}
    assert options.wire == {"attempts": 0, "idof": True, "lifo": True}
    assert (options.policy, options.bullmq_policy) == ("idof", None)
