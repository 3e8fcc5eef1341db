"""Shows that every bad option is refused by path and name, with the nearest good one, before anything is written."""

from __future__ import annotations

import datetime
import math

import pytest

import flownb as fn


def refuse(redis, opts, **arguments):
    tree = {"name": "root", "queueName": "q", "children": [{"name": "c", "queueName": "q", "opts": opts}]}
    with pytest.raises(fn.OptionError) as refusal:
        fn.FlowProducer().add(tree, **arguments)
    assert redis.dbsize() == 0
    assert str(refusal.value).startswith("root/children[0]: opts")
    return str(refusal.value)


@pytest.mark.parametrize(
    ("opts", "says"),
    [
        ({"attemps": 3}, "opts.attemps: no such option; did you mean 'attempts'?"),
        ({"fail_parent_on_failur": True}, "did you mean 'fail_parent_on_failure'?"),
        ({"whatever": 3}, "no such option; there are attempts, backoff"),
        ({5: 3}, "no such option"),
        ([("attempts", 3)], "a dict, not list"),
        ("attempts", "a dict, not str"),
        ({"attempts": -1}, "opts.attempts: a whole number from 0 to 1000, not -1"),
        ({"attempts": 2.5}, "not 2.5"),
        ({"attempts": "x"}, "not 'x'"),
        ({"attempts": True}, "not True"),
        ({"attempts": 10**9}, "not 1000000000"),
        ({"delay": -5}, "opts.delay: -5 is not between 0 and ten years"),
        ({"delay": math.inf}, "ten years"),
        ({"delay": math.nan}, "ten years"),
        ({"delay": 10**18}, "ten years"),
        ({"delay": 10**400}, "ten years"),
        ({"delay": "x"}, "'x' is no duration; write 30 or '30s'"),
        ({"delay": "-5s"}, "no duration"),
        ({"delay": True}, "a duration is a number, a timedelta or text, not True"),
        ({"delay": [1]}, "text, not a list of 1"),
        ({"delay": datetime.timedelta(days=-1)}, "ten years"),
        ({"priority": -1}, "opts.priority: a whole number from 0 to 2097151"),
        ({"priority": 1.5}, "not 1.5"),
        ({"priority": 2**21}, "not 2097152"),
        ({"priority": True}, "not True"),
        ({"backoff": -3}, "opts.backoff: -3 is not between"),
        (
            {"backoff": {"type": "nope", "delay": 1}},
            "the type is 'fixed', 'exponential' or 'custom', not 'nope'",
        ),
        ({"backoff": {"type": "fixed", "delay": 1, "jitter": 2}}, "jitter is a number from 0 to 1, not 2"),
        ({"backoff": {"typ": "fixed"}}, "no such part 'typ'; a backoff has type, delay and jitter"),
        ({"backoff": "sometimes 3s"}, "is no backoff"),
        ({"lifo": "yes"}, "opts.lifo: True or False, not 'yes'"),
        ({"timeout": 0}, "a timeout is longer than 0"),
        ({"timeout": -1}, "ten years"),
        ({"sizeLimit": 0}, "a whole number from 1"),
        ({"keepLogs": -1}, "a whole number from 1"),
        ({"stackTraceLimit": "all"}, "a whole number"),
        ({"failParentOnFailure": 1}, "True or False, not 1"),
        (
            {"failParentOnFailure": True, "ignoreDependencyOnFailure": True},
            "failParentOnFailure and ignoreDependencyOnFailure contradict each other; keep one",
        ),
        (
            {"remove_dependency_on_failure": True, "continueParentOnFailure": True},
            "removeDependencyOnFailure and continueParentOnFailure contradict",
        ),
        ({"attempts": 2, "delay": 1, "Delay": 2}, "no such option; did you mean 'delay'"),
        ({"keepLogs": 1, "keep_logs": 2}, "given twice, as keepLogs and keep_logs"),
    ],
    ids=str,
)
def test_an_option_that_does_not_fit(redis, opts, says):
    assert says in refuse(redis, opts)


@pytest.mark.parametrize("job_id", [("jobId", "job_id"), ("job_id", "jobId")])
def test_one_option_in_two_spellings(redis, job_id):
    first, second = job_id
    assert "given twice" in refuse(redis, {first: "a", second: "b"})


def test_attempts_in_two_spellings_of_priority_are_told_apart(redis):
    assert "given twice" in refuse(redis, {"stackTraceLimit": 1, "stack_trace_limit": 2})


def test_data_over_its_size_limit(redis):
    tree = {"name": "root", "queueName": "q", "data": {"x": "é" * 10}, "opts": {"sizeLimit": 27}}
    with pytest.raises(fn.FlowError, match="root: data: 28 bytes, over its sizeLimit of 27"):
        fn.add(tree)
    assert redis.dbsize() == 0
    tree["opts"]["sizeLimit"] = 28
    assert fn.add(tree).job.data == {"x": "é" * 10}


def test_queues_options_stand_under_each_nodes_own(redis):
    options = {"q": {"defaultJobOptions": {"attempts": 3, "priority": 7}}}
    tree = {
        "name": "root",
        "queueName": "q",
        "opts": {"priority": 2},
        "children": [{"name": "c", "queueName": "other"}],
    }
    flow = fn.FlowProducer().add(tree, queues_options=options)
    assert flow.job.opts == {"attempts": 3, "priority": 2}
    assert fn.Queue("other").get_jobs("waiting")[0].opts == {"attempts": 0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"q": {"defaults": {}}}, r"queues_options\['q'\]: no such part 'defaults'; write defaultJobOptions"),
        (["q"], "queues_options: a dict by queue, not list"),
        ({"q": "attempts"}, r"queues_options\['q'\]: {'defaultJobOptions': {...}}, not 'attempts'"),
        (
            {"q": {"defaultJobOptions": ["attempts"]}},
            r"\['q'\].defaultJobOptions: a dict of options, not list",
        ),
    ],
)
def test_queues_options_of_another_shape(redis, given, says):
    with pytest.raises(fn.OptionError, match=says):
        fn.FlowProducer().add({"name": "root", "queueName": "q"}, queues_options=given)
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"delay": "2s"}, {"attempts": 0, "delay": 2000}),
        ({"delay": datetime.timedelta(seconds=3)}, {"attempts": 0, "delay": 3000}),
        (
            {"backoff": "exponential 1s", "attempts": 2},
            {"attempts": 2, "backoff": {"type": "exponential", "delay": 1000}},
        ),
        ({"backoff": 250}, {"attempts": 0, "backoff": {"type": "fixed", "delay": 250}}),
        ({"attempts": 0}, {"attempts": 0}),
        ({"priority": 2_097_151}, {"attempts": 0, "priority": 2_097_151}),
        ({"keep_logs": 3}, {"attempts": 0, "kl": 3}),
        ({"fail_parent_on_failure": False}, {"attempts": 0, "idof": True}),
        ({"attempts": None}, {"attempts": 0}),
    ],
    ids=str,
)
def test_good_options_are_stored_as_bullmq_does(given, stored):
    assert fn.add({"name": "root", "queueName": "q", "opts": given}).job.opts == stored


@pytest.mark.parametrize("timeout", [-1, "soon", math.nan, True])
def test_a_wait_of_no_time(timeout):
    flow = fn.add({"name": "root", "queueName": "q"})
    with pytest.raises(fn.OptionError, match="timeout"):
        flow.wait(timeout=timeout)
