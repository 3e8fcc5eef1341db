"""Shows what `every` stores, refuses, replaces, lists and ends; no worker runs here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from flownb.adding.plan import plan
from flownb.adding.template import FLOW_OF_TEMPLATE, plan_of, template_of
from tests.support import invariants

TREE = {"name": "load", "queueName": "loads"}
QUEUE = "bull:flownb-batch"


def everything(redis):
    return {key: redis.dump(key) for key in redis.keys("*")}


def due_of(redis, name):
    return int(redis.zscore(f"{QUEUE}:repeat", name))


@fn.task
def load(day="today"):
    return day


# ---- what is stored ---------------------------------------------------------------------------------------


def test_an_interval_begins_now_and_a_cron_line_at_its_next_time(connection, redis):
    now = datetime.now(UTC)
    interval = fn.every("1d", TREE, name="daily")
    line = fn.every("0 6 * * *", TREE, name="mornings", tz="Europe/Berlin")

    assert abs(interval.next - now) < timedelta(seconds=20)
    local = line.next.astimezone(ZoneInfo("Europe/Berlin"))
    assert (local.hour, local.minute) == (6, 0)
    assert now < line.next <= now + timedelta(days=1, hours=1)
    assert (interval.last, line.last) == (None, None)
    assert invariants.violations(redis) == []


@pytest.mark.parametrize("when", ["90s", 90, 90.0, np.int64(90), timedelta(seconds=90), "1.5m"])
def test_an_interval_may_be_written_in_each_way_of_a_duration(connection, when):
    assert repr(fn.every(when, TREE, name="n")) == "Schedule('n': 90s)"


@pytest.mark.parametrize(
    ("line", "shown"),
    [("*/5 * * * *", "*/5 * * * *"), ("  0   6 * * mon-fri ", "0 6 * * mon-fri"), ("@hourly", "@hourly"), ("30 0 6 * * *", "30 0 6 * * *")],
)  # fmt: skip
def test_a_cron_line_may_have_seconds_or_be_a_word(connection, line, shown):
    assert repr(fn.every(line, TREE, name="n")) == f"Schedule('n': {shown} UTC)"


def test_a_task_is_the_tree_that_calls_it_and_a_zone_may_be_an_object(connection):
    schedule = fn.every("@daily", load, name="n", tz=ZoneInfo("Asia/Tokyo"))

    assert repr(schedule) == "Schedule('n': @daily Asia/Tokyo)"
    assert schedule.next.hour == 15


def test_a_template_is_the_plan_again_with_the_ids_of_its_flow():
    shared = load.node(
        "monday", opts={"attempts": 3, "backoff": "exponential 1s", "removeOnFail": {"age": 60}}
    )
    left = fn.Node("left", "a", {"text": 'a "quote"', "n": 1.5}, {"priority": 3}, [shared])
    right = {
        "name": "right",
        "queueName": "b",
        "opts": {
            "failParentOnFailure": False,
            "delay": 50,
            "keepLogs": 3,
            "sizeLimit": 1000,
            "timeout": "3s",
        },
        "children": [shared, load.node(load.node("below"))],
    }
    root = fn.Node("root", "a", opts={"removeOnComplete": {"count": 3}}, children=[left, right])
    asked = plan(root, prefix="bull", flow=FLOW_OF_TEMPLATE)

    made = plan_of(template_of(asked), "bull", "f1")

    asked.rename("f1")
    assert made.jobs == asked.jobs
    assert made.flow == "f1"
    assert FLOW_OF_TEMPLATE not in repr(made)


# ---- what is refused --------------------------------------------------------------------------------------

FIXED = {"name": "total", "queueName": "totals", "children": [TREE, {**TREE, "opts": {"jobId": "november"}}]}
MANY = {"name": "total", "queueName": "totals", "children": [TREE] * 1000}
REFUSED = [
    (
        {"when": "61 * * * *"},
        "when: '61 * * * *' is no cron line (minute, hour, day, month, weekday): is not acceptable",
    ),
    ({"when": "0 0 31 2 *"}, "when: '0 0 31 2 *' never matches: there is no such day"),
    (
        {"when": "every day"},
        "when: an interval such as '30m', '1d' or 90 (seconds), or a cron line such as '0 6",
    ),
    ({"when": "* " * 200}, "when: an interval such as"),
    ({"when": None}, "when: an interval such as"),
    ({"when": True}, "not True"),
    ({"when": pd.Series([1])}, "not a Series"),
    ({"when": float("nan")}, "when: nan is not between 0 and ten years"),
    ({"when": "0.5s"}, "when: at least one second between two flows, not '0.5s'"),
    ({"when": -5}, "when: -5 is not between 0 and ten years"),
    (
        {"tz": "UTC"},
        "tz: a day of an interval has 24 hours in every time zone; for UTC give a cron line such as",
    ),
    ({"when": "@daily", "tz": "Europe/Berln"}, "tz: a time zone such as 'Europe/Berlin', not 'Europe/Berln'"),
    ({"when": "@daily", "tz": 5}, "tz: a time zone such as 'Europe/Berlin', not 5"),
    ({"name": None}, "name: a schedule needs one, such as name='nightly'"),
    ({"name": "a:b"}, "name: a schedule's must not hold a colon"),
    ({"name": "x" * 201}, "name: a schedule's must have at most 200 characters"),
    ({"name": 5}, "name: a schedule's must be text, not int"),
    ({"overlap": "queue"}, "overlap: 'skip' or 'allow', not 'queue'"),
    ({"tree": None}, "tree: what is added each time is missing"),
    ({"tree": len}, "tree: len is a plain function: put @task above it"),
    ({"tree": [TREE]}, "root: a node is a dict or a Node, not list"),
    (
        {"tree": FIXED},
        "root/children[1]: opts.jobId 'november' is the same at each tick, and a job runs once",
    ),
    ({"tree": MANY}, "root: 1,001 jobs with 2,002 bytes of data; a tick adds at most 1,000 jobs"),
    (
        {"tree": {**TREE, "opts": {"atempts": 3}}},
        "root: opts.atempts: no such option; did you mean 'attempts'?",
    ),
    ({"tree": {**TREE, "prefix": "other"}}, "root: prefix 'other' is not this connection's"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED, ids=[says[:30] for _, says in REFUSED])
def test_bad_input_is_refused_before_anything_is_written(connection, redis, change, says):
    asked = {"when": "1d", "tree": TREE, "name": "nightly"} | change
    before = everything(redis)

    with pytest.raises((fn.FlowError, fn.OptionError)) as refusal:
        fn.every(asked.pop("when"), asked.pop("tree"), **asked)

    assert says in str(refusal.value)
    assert everything(redis) == before


def test_a_task_with_an_argument_missing_is_refused(connection):
    @fn.task
    def sized(x):
        return x

    with pytest.raises(fn.FlowError, match="root: task sized: its argument 'x' is missing"):
        fn.every("1d", sized, name="n")


def test_without_a_tree_there_is_nothing_to_give_a_time_zone_to(connection):
    with pytest.raises(fn.OptionError, match="every: give when and tree too"):
        fn.every(tz="UTC")


def test_a_connection_that_only_reads_lists_and_stores_nothing(connection, redis, server):
    fn.every("1d", TREE, name="n")
    with fn.Connection(**server, read_only=True) as reader:
        assert fn.every(connection=reader)["name"].tolist() == ["n"]
        assert fn.every(name="n", connection=reader).next is not None
        for write in (
            lambda: fn.every("1d", TREE, name="m", connection=reader),
            lambda: fn.every(name="n", connection=reader).cancel(),
        ):
            with pytest.raises(fn.ReadOnly):
                write()


# ---- the same name again ----------------------------------------------------------------------------------


def test_the_same_call_again_changes_nothing_and_says_so(connection, redis, capsys):
    for when in ("1d", "0 6 * * *"):
        fn.every(when, load.node("monday"), name=when)
        due = due_of(redis, when)
        fn.every(when, load.node("monday"), name=when)

        assert due_of(redis, when) == due
        assert f"flownb: schedule {when!r} is there already and stays as it is\n" in capsys.readouterr().out
    assert redis.zcard(f"{QUEUE}:delayed") + redis.llen(f"{QUEUE}:wait") == 2


def test_the_same_name_replaces_the_tree_and_keeps_the_next_tick(connection, redis, capsys):
    fn.every("0 6 * * *", load.node("monday"), name="n")
    due = due_of(redis, "n")

    fn.every("0 6 * * *", load.node("tuesday"), name="n", overlap="allow")

    assert due_of(redis, "n") == due
    assert (
        capsys.readouterr().out == "flownb: schedule 'n' is replaced: another tree, overlap skip -> allow\n"
    )
    assert redis.zcard(f"{QUEUE}:delayed") == 1


@pytest.mark.every_server
def test_another_interval_begins_anew(connection, redis, capsys):
    fn.every("0 6 1 1 *", TREE, name="n", tz="Asia/Tokyo")

    schedule = fn.every("2h", TREE, name="n")

    assert abs(schedule.next - datetime.now(UTC)) < timedelta(seconds=20)
    assert capsys.readouterr().out == "flownb: schedule 'n' is replaced: 0 6 1 1 * Asia/Tokyo -> 2h\n"
    assert redis.zcard(f"{QUEUE}:delayed") + redis.llen(f"{QUEUE}:wait") == 1
    assert invariants.violations(redis) == []


def test_the_same_call_again_mends_a_schedule_whose_next_job_another_program_has_removed(connection, redis):
    schedule = fn.every("0 6 * * *", TREE, name="n")
    id = f"repeat:n:{due_of(redis, 'n')}"
    redis.zrem(f"{QUEUE}:delayed", id)
    redis.delete(f"{QUEUE}:{id}")
    assert "the job of its next tick was removed" in fn.every().loc[0, "why"]

    fn.every("0 6 * * *", TREE, name="n")

    assert redis.zscore(f"{QUEUE}:delayed", f"repeat:n:{round(schedule.next.timestamp() * 1000)}")
    assert fn.every().loc[0, "why"] == ""


# ---- listed and ended -------------------------------------------------------------------------------------


def test_schedules_are_listed_as_a_frame_the_next_first(connection):
    fn.every("0 6 1 1 *", TREE, name="yearly", tz="Europe/Berlin", overlap="allow")
    fn.every("1d", TREE, name="daily")

    listed = fn.every()

    assert listed.columns.tolist() == ["name", "when", "tz", "overlap", "next", "last", "state", "why"]
    assert listed["name"].tolist() == ["daily", "yearly"]
    assert listed["when"].tolist() == ["1d", "0 6 1 1 *"]
    assert listed["tz"].tolist() == ["UTC", "Europe/Berlin"]
    assert listed["overlap"].tolist() == ["skip", "allow"]
    assert listed["next"].iloc[1] == fn.every(name="yearly").next
    assert listed[["last", "state"]].isna().all(axis=None)
    assert listed["why"].tolist() == ["", ""]


def test_a_list_of_none_has_its_columns_and_types(connection):
    listed = fn.every()

    assert listed.empty
    assert str(listed["next"].dtype) == "datetime64[ms, UTC]"


def test_a_tick_that_nobody_carries_out_says_so(connection, redis):
    fn.every("1d", TREE, name="n")
    due = due_of(redis, "n")
    redis.rename(f"{QUEUE}:repeat:n:{due}", f"{QUEUE}:repeat:n:{due - 60_000}")
    redis.zadd(f"{QUEUE}:repeat", {"n": due - 60_000})

    assert "due, and no worker has a free slot for it" in fn.every().loc[0, "why"]


@pytest.mark.every_server
def test_cancelled_it_leaves_nothing_and_may_be_cancelled_again(connection, redis):
    schedule = fn.every("0 6 * * *", TREE, name="n")

    schedule.cancel()
    schedule.cancel()

    assert schedule.next is None
    assert repr(schedule) == "Schedule('n': cancelled)"
    assert fn.every().empty
    assert not redis.exists("bull:flownb:every:n", f"{QUEUE}:delayed", f"{QUEUE}:repeat", f"{QUEUE}:repeat:n")


def test_a_name_that_nobody_has_stored_is_told(connection):
    with pytest.raises(
        fn.JobMissing, match=r"no schedule 'nightly' on this server; flownb.every\(\) lists them"
    ):
        fn.every(name="nightly")


def test_what_another_program_schedules_on_that_queue_is_listed_too(connection, redis):
    redis.zadd(f"{QUEUE}:repeat", {"theirs": 4_000_000_000_000})
    redis.hset(f"{QUEUE}:repeat:theirs", mapping={"name": "theirs", "every": "soon", "ic": "1"})

    assert fn.every()["name"].tolist() == ["theirs"]
