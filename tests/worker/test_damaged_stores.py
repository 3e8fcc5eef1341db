"""Shows that a damaged record or key on the server spoils what it belongs to, and no other flow of the same worker."""

from __future__ import annotations

import logging

import pytest

import flownb as fn
from flownb.errors import ServerRefused

DEEP = "[" * 5000


def ends(job):
    if job.name == "fails":
        raise fn.UnrecoverableError("no")
    return 1


def flow(name, parents="totals"):
    """One child fails, and another ends well."""
    return {
        "name": name,
        "queueName": parents,
        "opts": {"jobId": name},
        "children": [
            {
                "name": "fails",
                "queueName": "rows",
                "opts": {"jobId": f"{name}-fails", "ignoreDependencyOnFailure": True},
            },
            {"name": "row", "queueName": "rows", "opts": {"jobId": f"{name}-row"}},
        ],
    }


def run_beside_others(damage, until, parents="totals"):
    """Add a flow, damage it, and run it together with six others; all jobs of all rows come in one call."""
    bad = fn.add(flow("bad", parents))
    good = [fn.add(flow(f"good{i}")) for i in range(6)]
    damage()
    with fn.Worker("rows", ends), fn.Worker("totals", lambda job: job.name):
        assert [one.result(timeout=30) for one in good] == [f"good{i}" for i in range(6)]
        rows = fn.Queue("rows")
        until(lambda: all(rows.get_job_counts()[state] == 0 for state in ("waiting", "active")))
    return bad


@pytest.mark.parametrize("text", ["[[[[", "5", "null", "", "x", '{"fpof":', DEEP])
@pytest.mark.parametrize("field", ["parent", "parentKey"])
def test_a_damaged_link_to_a_parent_spoils_its_own_flow_alone(redis, until, field, text):
    run_beside_others(lambda: redis.hset("bull:rows:bad-fails", field, text), until)

    jobs = {one: fn.Queue("rows").get_job(f"bad-{one}").get_state() for one in ("fails", "row")}
    assert jobs == {"fails": "failed", "row": "completed"}


@pytest.mark.parametrize(
    "key",
    [
        *(
            f"bull:sums:{name}"
            for name in ("wait", "failed", "waiting-children", "meta", "active", "delayed")
        ),
        *(f"bull:sums:bad:{name}" for name in ("dependencies", "processed", "failed", "unsuccessful")),
    ],
)
def test_a_parent_with_a_key_of_another_type_waits_and_its_children_end(redis, until, key):
    def damage():
        redis.delete(key)
        redis.set(key, "of another program")

    run_beside_others(damage, until, parents="sums")

    rows = fn.Queue("rows")
    assert rows.get_job("bad-row").get_state() == "completed"
    assert rows.get_job("bad-fails").get_state() == "failed"
    assert redis.get(key) == b"of another program"
    assert any(key in what or "a type that no job's key has" in what for what in fn.doctor()["what"])


def test_the_key_of_a_job_that_holds_something_else_is_left_as_it_is_and_the_job_is_told_as_failed(
    redis, until
):
    def damage():
        redis.delete("bull:rows:bad-row")
        redis.rpush("bull:rows:bad-row", "of another program")

    run_beside_others(damage, until)

    assert redis.lrange("bull:rows:bad-row", 0, -1) == [b"of another program"]
    assert redis.zscore("bull:rows:failed", "bad-row") is not None


def test_a_queue_with_a_damaged_key_stands_still_until_it_is_repaired_and_others_go_on(redis, until, caplog):
    """The worker has run a job of it: how that ended is written as soon as it can be."""
    caplog.set_level(logging.WARNING, "flownb.worker")
    running = fn.Queue("sick").add("j")

    def damages(job):
        redis.set("bull:sick:completed", "of another program")
        return 7

    def serve(job):
        return damages(job) if job.queue_name == "sick" else 1

    with fn.Worker(["sick", "rows"], serve, stalled_interval="0.3s"):
        until(lambda: "queue sick" in caplog.text)
        assert fn.add({"name": "other", "queueName": "rows"}).result(timeout=30) == 1
        assert running.get_state() == "active"
        redis.delete("bull:sick:completed")
        until(lambda: running.get_state() == "completed")
    job = fn.Queue("sick").get_job(running.id)
    assert (job.returnvalue, job.attempts_made) == (7, 1)


def test_parents_in_a_queue_that_was_damaged_are_told_by_doctor_once_it_is_repaired(redis, until):
    one = fn.add(flow("one", "sums"))
    redis.set("bull:sums:failed", "of another program")
    with fn.Worker("rows", ends), fn.Worker("sums", lambda job: job.name):
        rows = fn.Queue("rows")
        until(lambda: all(rows.get_job_counts()[state] == 1 for state in ("completed", "failed")))
        redis.delete("bull:sums:failed")
        reason = next(one.explain().itertuples())
        assert "was not told of it" in reason.why
        assert reason.fix.startswith("doctor(fix=True)")
        assert fn.doctor(fix=True)["fix"].str.startswith("mended").any()
        assert one.result(timeout=30) == "one"


def test_an_add_that_meets_a_damaged_key_names_it_and_writes_nothing(redis):
    redis.set("bull:totals:waiting-children", "of another program")
    before = {key: redis.dump(key) for key in redis.scan_iter()}

    with pytest.raises(ServerRefused, match=r"bull:totals.*doctor\(\)"):
        fn.add(flow("bad"))

    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
