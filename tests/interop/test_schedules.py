"""BullMQ's job schedulers: a schedule goes on under flownb's worker as it does under BullMQ's own."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

import flownb as fn
from flownb.adding.next_run import next_run_ms

#: words in the options of one run that are times or made of them
TIMES = {"jobId", "timestamp", "delay", "prevMillis"}
JOB = {
    "name": "tick",
    "data": {"do": "value", "value": 1},
    "opts": {"attempts": 2, "backoff": 100, "priority": 3},
}


def started(peers, redis, until, worker: str, producer: str, repeat: dict[str, Any], runs: int) -> str:
    """Let a queue's worker run a schedule so often; return the queue's key."""
    redis.flushall()
    queue = f"{worker}-line"
    peers[producer].ask("schedule", queue=queue, id="s", repeat=repeat, job=JOB)
    until(lambda: redis.zcard(f"bull:{queue}:completed") >= runs)
    return f"bull:{queue}"


def next_run(redis, base: str, until) -> dict[str, Any]:
    """What is stored of the job that waits for its time, without times."""

    def waiting():
        for id in redis.zrange(f"{base}:delayed", 0, -1):
            found = {
                field.decode(): value.decode()
                for field, value in redis.hgetall(f"{base}:{id.decode()}").items()
            }
            if "opts" in found and "processedOn" not in found:
                return found

    found = until(waiting)
    opts = json.loads(found["opts"])
    assert {"timestamp", "delay"} <= opts.keys()
    assert opts["jobId"].startswith("repeat:s:")
    opts["repeat"].pop("count")
    return {
        **{name: value for name, value in found.items() if name not in ("timestamp", "delay", "opts")},
        "opts": {name: value for name, value in opts.items() if name not in TIMES},
        "times": sorted(TIMES & opts.keys()),
    }


def stored_schedule(redis, base: str) -> dict[str, str]:
    found = {field.decode(): value.decode() for field, value in redis.hgetall(f"{base}:repeat:s").items()}
    return {name: value for name, value in found.items() if name not in ("ic", "offset")}


def due_times(redis, base: str) -> list[int]:
    return [int(id.decode().rpartition(":")[2]) for id in redis.zrange(f"{base}:completed", 0, -1)]


REPEATS: dict[str, dict[str, Any]] = {
    "every": {"every": 300},
    "a cron pattern": {"pattern": "* * * * * *"},
    "a cron pattern in a time zone": {"pattern": "*/1 * * * * *", "tz": "Asia/Kolkata"},
}


@pytest.mark.parametrize("producer", ["node6", "node5"])
@pytest.mark.parametrize("how", REPEATS)
def test_a_schedule_goes_on_as_under_bullmqs_worker(peers, redis, until, how, producer):
    repeat = REPEATS[how]
    theirs = started(peers, redis, until, producer, producer, repeat, 2)
    expected = next_run(redis, theirs, until), stored_schedule(redis, theirs)

    ours = started(peers, redis, until, "flownb", producer, repeat, 3)

    assert (next_run(redis, ours, until), stored_schedule(redis, ours)) == expected
    step, times = repeat.get("every", 1000), due_times(redis, ours)
    assert all((after - before) % step == 0 and after > before for before, after in pairwise(times))


@pytest.mark.parametrize("end", ["limit", "endDate"])
def test_a_schedule_ends_at_its_limit_or_its_last_day(peers, redis, until, end):
    more = {"limit": 2} if end == "limit" else {"endDate": round(time.time() * 1000) + 700}
    ours = started(peers, redis, until, "flownb", "node6", {"every": 300, **more}, 2)

    until(
        lambda: not redis.exists(f"{ours}:delayed", f"{ours}:wait", f"{ours}:active", f"{ours}:prioritized")
    )

    assert redis.hget(f"{ours}:repeat:s", "ic") == str(redis.zcard(f"{ours}:completed")).encode()
    if end == "limit":
        assert redis.zcard(f"{ours}:completed") == 2


def test_another_attempt_of_a_run_adds_no_second_next_one(peers, redis, until):
    redis.flushall()
    job = {"name": "tick", "data": {"do": "fail_first", "times": 1, "value": 1}, "opts": {"attempts": 3}}
    peers["node6"].ask("schedule", queue="flownb-line", id="s", repeat={"every": 60_000}, job=job)

    until(lambda: redis.zcard("bull:flownb-line:completed") == 1)

    assert redis.llen("test:runs") == 2
    assert redis.zcard("bull:flownb-line:delayed") == 1
    assert redis.hget("bull:flownb-line:repeat:s", "ic") == b"2"


def test_a_schedule_that_was_taken_back_ends_with_the_run_that_had_begun(peers, redis, until):
    redis.flushall()
    job = {"name": "tick", "data": {"do": "value", "value": 1}, "opts": {}}
    peers["node6"].ask("schedule", queue="nobody", id="s", repeat={"every": 60_000}, job=job)
    redis.delete("bull:nobody:repeat", "bull:nobody:repeat:s")

    with fn.Worker("nobody", lambda job: 1):
        until(lambda: redis.zcard("bull:nobody:completed") == 1)

    assert not redis.exists("bull:nobody:delayed")


LINES = [
    *(
        "* * * * *",
        "*/5 * * * *",
        "0 */7 * * *",
        "0 0 * * 1-5",
        "0 0 1 * *",
        "0 0 31 * *",
        "0 0 29 2 *",
        "30 2 * * *",
    ),
    *(
        "0 0 L * *",
        "15 10 * * 5L",
        "0 0 * * 1#2",
        "0 12 1,15 * 3",
        "0 9 * JAN-MAR MON",
        "0 0 ? * MON",
        "0 0 * * 7",
    ),
    *(
        "0 30 7 * * *",
        "*/30 * * * * *",
        "5-10/2 1 * * * *",
        "@hourly",
        "@daily",
        "@weekly",
        "@monthly",
        "@yearly",
    ),
]
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"]
MOMENTS = [  # some before clocks are changed, in one zone or the other
    "2024-02-29T09:46:40", "2026-03-08T06:30:00", "2026-03-29T00:30:00", "2026-03-29T01:30:00", "2026-10-24T23:59:30",
    "2026-10-25T00:30:00", "2026-11-01T05:30:00", "2026-11-29T10:07:30",
]  # fmt: skip


def test_a_cron_line_matches_when_it_does_for_bullmq(peers):
    times = [round(datetime.fromisoformat(f"{moment}+00:00").timestamp() * 1000) for moment in MOMENTS]

    theirs = peers["node6"].ask("cron_times", lines=LINES, zones=ZONES, times=times)

    asked = [(line, zone, time) for line in LINES for zone in ZONES for time in times]
    ours = [next_run_ms({"pattern": line, "tz": zone}, 0, time) for line, zone, time in asked]
    differing = [one for one, mine, other in zip(asked, ours, theirs, strict=True) if mine != other]
    assert differing == []


def test_a_pattern_that_is_none_is_told_in_the_log_and_its_job_runs(redis, until, caplog):
    job = fn.Queue("odd").add("tick")
    redis.hset(f"bull:odd:{job.id}", mapping={"rjk": "s", "opts": '{"repeat":{"pattern":"61 * * * *"}}'})
    caplog.set_level("WARNING", "flownb.worker")

    with fn.Worker("odd", lambda job: 1):
        until(lambda: job.get_state() == "completed")

    assert "schedule 's' of queue 'odd' cannot go on" in caplog.text
