"""Job schedulers that flownb's queue makes, beside Node's: what is stored, how it is changed, told of and taken back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import flownb as fn
from tests.support.peers.beside import dump


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


START, END = 1_900_000_000_000, 2_000_000_000_000
REPEATS: dict[str, dict[str, Any]] = {
    "every": {"every": 60_000},
    "every, so often": {"every": 60_000, "limit": 3},
    "every, with an offset": {"every": 86_400_000, "offset": 1000},
    "every, from a day on": {"every": 60_000, "startDate": START},
    "every, to a day": {"every": 60_000, "endDate": END},
    "a cron line": {"pattern": "0 6 * * *"},
    "a cron line in a zone": {"pattern": "30 2 * * mon-fri", "tz": "Europe/Berlin"},
    "a cron line at once": {"pattern": "0 6 * * *", "immediately": True},
    "a cron line from a day on": {"pattern": "0 6 * * *", "startDate": START},
}
OPTS = {
    "attempts": 2,
    "backoff": {"type": "fixed", "delay": 100},
    "priority": 3,
    "keepLogs": 5,
    "removeOnComplete": True,
}
TEMPLATES: dict[str, Any] = {
    "all": {"name": "tick", "data": {"a": 1}, "opts": OPTS},
    "no options": {"name": "tick", "data": [1]},
    "nothing": None,
}


def upsert(node6, repeat, template, id="s") -> None:
    more = [] if template is None else [template]
    node6.ask("call", queue="node-line", method="upsertJobScheduler", args=[id, repeat, *more])
    fn.Queue("ours-line").upsert_job_scheduler(id, repeat, template)


def found(redis, who: str) -> dict[str, Any]:
    """What is stored, without what depends on the ms of the call: ids of jobs due at once, offsets made of it."""
    made = {}
    for key, value in dump(redis, who).items():
        if isinstance(value, dict):
            value = {name: one for name, one in value.items() if name not in ("delay", "timestamp")}
            if isinstance(value.get("offset"), int) and value["offset"] not in (0, 1000):
                value["offset"] = "made"
            if isinstance(value.get("opts"), dict):
                value["opts"] = {
                    name: one for name, one in value["opts"].items() if name not in ("delay", "timestamp")
                }
        made[key] = value
    return made


@pytest.mark.parametrize("what", TEMPLATES)
@pytest.mark.parametrize("how", REPEATS)
def test_a_scheduler_is_stored_as_by_node(how, what, node6, redis, connection):
    upsert(node6, REPEATS[how], TEMPLATES[what])

    assert found(redis, "ours") == found(redis, "node")
    if "every" not in how or "offset" in how or "day on" in how:
        assert redis.zrange("bull:ours-line:repeat", 0, -1, withscores=True) == redis.zrange(
            "bull:node-line:repeat", 0, -1, withscores=True
        ) or how.endswith("at once")


@pytest.mark.parametrize("after", ["the same", "another interval", "a limit", "a cron line", "other data"])
@pytest.mark.parametrize("runs", [0, 1])
def test_a_scheduler_is_changed_as_by_node(runs, after, node6, redis, until, start_peer, connection):
    template = {"name": "tick", "data": {"do": "value", "value": 1}, "opts": {"attempts": 2}}
    upsert(node6, {"every": 60_000}, template)
    if runs:
        runner = start_peer("node6")
        for who in ("node", "ours"):
            runner.ask("work", queue=f"{who}-line")
            until(lambda who=who: redis.zcard(f"bull:{who}-line:completed") == 1)
        runner.ask("stop")

    changed: dict[str, Any] = {
        "another interval": {"every": 90_000},
        "a limit": {"every": 60_000, "limit": 5},
        "a cron line": {"pattern": "0 6 * * *"},
    }.get(after, {"every": 60_000})
    time.sleep(0.002)  # a job that is due at once has its time for an id: not the one that is there
    upsert(node6, changed, template if after != "other data" else {"name": "tock", "data": {"b": 2}})

    ours, theirs = found(redis, "ours"), found(redis, "node")
    for stored in (ours, theirs):
        stored.pop("bull:line:marker", None)
        stored["bull:line:events"] = [
            event for event in stored["bull:line:events"] if event["event"] != "drained"
        ]
    assert ours == theirs


def test_schedulers_are_told_of_as_by_node(node6, redis, connection):
    queue = fn.Queue("ours-line")
    for n, how in enumerate(["a cron line in a zone", "every, from a day on", "every, so often"]):
        queue.upsert_job_scheduler(f"s{n}", REPEATS[how], TEMPLATES["all"])

    for args in ([], [0, -1, True], [0, 0], [1, 1, True]):
        assert queue.get_job_schedulers(*args) == node6.ask(
            "call", queue="ours-line", method="getJobSchedulers", args=args
        )
    for id in ("s0", "s1", "gone"):
        theirs = node6.ask("call", queue="ours-line", method="getJobScheduler", args=[id])
        assert queue.get_job_scheduler(id) == theirs


@pytest.mark.parametrize("how", ["every", "a cron line"])
def test_a_scheduler_is_taken_back_as_by_node(how, node6, redis, connection):
    upsert(node6, REPEATS[how], None)

    theirs = [node6.ask("call", queue="node-line", method="removeJobScheduler", args=["s"]) for _ in range(2)]
    ours = [fn.Queue("ours-line").remove_job_scheduler("s") for _ in range(2)]

    assert ours == theirs == [True, False]
    assert found(redis, "ours") == found(redis, "node")


@pytest.mark.parametrize("worker", ["node6", "flownb"])
def test_workers_of_both_keep_it_going_to_its_limit(worker, redis, until, start_peer, connection):
    runner = start_peer(worker)
    queue = fn.Queue("ours-line")
    job = queue.upsert_job_scheduler(
        "s", {"every": 50, "limit": 3}, {"name": "tick", "data": {"do": "value", "value": 1}}
    )
    runner.ask("work", queue="ours-line")

    until(lambda: redis.zcard("bull:ours-line:completed") == 3)

    runner.ask("stop")
    assert job.get_state() == "completed"
    assert queue.get_job_counts()["delayed"] == 0
    runner.close()


def test_the_next_job_of_a_scheduler_is_a_job_like_others_but_for_its_removal_and_cancel(
    redis, until, connection
):
    queue = fn.Queue("ours-line")
    job = queue.upsert_job_scheduler("s", {"pattern": "0 6 * * *"}, {"name": "tick", "data": {"a": 1}})

    (listed,) = queue.get_jobs("delayed")
    assert (listed.id, listed.data, listed.get_state(), queue.get_job(job.id).id) == (
        job.id,
        {"a": 1},
        "delayed",
        job.id,
    )
    for end in (job.remove, job.cancel):
        with pytest.raises(
            fn.FlowError, match=r"end that by Queue\('ours-line'\).remove_job_scheduler\('s'\)"
        ):
            end()
    assert job.get_state() == "delayed"
    job.promote()
    assert job.get_state() == "waiting"
    with fn.Worker("ours-line", lambda job: job.id):
        until(lambda: job.get_state() == "completed")
    job.remove()
    assert queue.get_job(job.id) is None


def test_points_in_time_may_be_datetimes(redis, connection):
    queue = fn.Queue("ours-line")

    queue.upsert_job_scheduler("s", {"every": "1d", "start_date": datetime(2031, 1, 1, tzinfo=UTC)})

    assert (
        queue.get_job_scheduler("s")["startDate"] == queue.get_job_scheduler("s")["next"] == 1_924_992_000_000
    )


@pytest.mark.parametrize(
    "start", [START + 0.4, np.float64(START), np.int64(START)], ids=lambda value: str(type(value))
)
def test_points_in_time_may_be_what_time_time_gives(start, redis, connection):
    queue = fn.Queue("ours-line")
    queue.upsert_job_scheduler("s", {"every": "1d", "startDate": start})
    assert queue.get_job_scheduler("s")["startDate"] == queue.get_job_scheduler("s")["next"] == START


@pytest.mark.parametrize(
    ("repeat", "template", "refusal"),
    [
        ({}, None, "either every"),
        ({"every": 5, "pattern": "* * * * *"}, None, "either every"),
        ({"every": 0}, None, "longer than 0"),
        ({"evry": 5}, None, "no such part 'evry'"),
        ({"pattern": "nonsense"}, None, "repeat.pattern: 'nonsense' is no cron line"),
        ({"pattern": "61 * * * *"}, None, "repeat.pattern: '61 .*' is no cron line .*out of range"),
        (
            {"pattern": "0 6 30 2 *"},
            None,
            "repeat.pattern: '0 6 30 2 .*' never matches: there is no such day",
        ),
        (
            {"pattern": "* * * * *", "tz": "Europe/Berln"},
            None,
            "repeat.tz: a time zone such as 'Europe/Berlin', not",
        ),
        ({"every": 1000, "tz": "Nowhere/X"}, None, "repeat.tz: a time zone such as"),
        (
            {"every": 0.2},
            None,
            "repeat.every: 0.2 is less than a millisecond; seconds are text, such as '0.2s'",
        ),
        ({"every": 5, "startDate": START, "start_date": START}, None, "repeat.startDate: given twice"),
        ({"every": 5, "startDate": float("nan")}, None, "a datetime with a time zone"),
        ({"every": 5, "startDate": 10**400}, None, "a datetime with a time zone"),
        ({"every": 5, "startDate": -1}, None, "a datetime with a time zone"),
        ({"every": object()}, None, "a duration is a number, a timedelta or text, not an object"),
        ({"every": 5, "limit": 0}, None, "limit: a whole number from 1"),
        ({"every": 5, "endDate": 1000}, None, "is over already"),
        ({"pattern": "* * * * *", "startDate": START, "immediately": True}, None, "either immediately"),
        ({"every": 5, "startDate": "2030"}, None, "a datetime with a time zone"),
        ("1d", None, "a dict such as"),
        ({"every": 5}, {"nme": "a"}, "no such part 'nme'"),
        ({"every": 5}, {"opts": {"delay": 5}}, "the scheduler says itself"),
        ({"every": 5}, {"opts": {"jobId": "a"}}, "the scheduler says itself"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_write(repeat, template, refusal, redis, connection):
    with pytest.raises(fn.FlownbError, match=refusal):
        fn.Queue("q").upsert_job_scheduler("s", repeat, template)
    assert redis.keys("bull:q:*") == []


@pytest.mark.parametrize("id", ["", "a:b", 5, None])
def test_an_id_that_could_not_be_cut_from_a_jobs_is_refused(id, connection):
    with pytest.raises(fn.OptionError, match="without a colon"):
        fn.Queue("q").upsert_job_scheduler(id, {"every": 5})
