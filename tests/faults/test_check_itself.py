"""Shows that the check after a fault sees what a fault may leave: each damage to a run that went well is reported."""

from __future__ import annotations

from tests.support.checked_work import wrong_at_the_end
from tests.support.execution_log import FILE, Kill, begun_at, not_explained, note
from tests.support.execution_log import Run as LoggedRun

BEFORE, AFTER = LoggedRun("a", 1, 10.0, 10.5), LoggedRun("a", 2, 12.0, 12.5)


def id_of(client, queue="leaf"):
    return client.zrange(f"bull:{queue}:completed", 0, 0)[0].decode()


def lose_a_job(client):
    client.zrem("bull:leaf:completed", id_of(client))


def fail_a_job(client):
    id = id_of(client)
    score = client.zscore("bull:leaf:completed", id)
    client.zrem("bull:leaf:completed", id)
    client.zadd("bull:leaf:failed", {id: score})
    client.hset(f"bull:leaf:{id}", "failedReason", "job stalled more than allowable limit")


def end_a_job_twice(client):
    client.xadd("bull:leaf:events", {"event": "completed", "jobId": id_of(client)})


def charge_an_attempt(client):
    client.hset(f"bull:leaf:{id_of(client)}", mapping={"atm": 2, "ats": 2})


def change_a_sum(client):
    id = id_of(client, "total")
    client.hset(f"bull:total:{id}", "returnvalue", '{"sum": 1, "n": 10}')


def mix_up_two_values(client):
    first, second = client.zrange("bull:leaf:completed", 0, 1)
    values = [client.hget(f"bull:leaf:{id.decode()}", "returnvalue") for id in (first, second)]
    for id, value in zip((first, second), reversed(values), strict=True):
        client.hset(f"bull:leaf:{id.decode()}", "returnvalue", value)


def leave_a_job_running(client):
    client.rpush("bull:leaf:active", id_of(client))


DAMAGES = {
    lose_a_job: "is in no place",
    fail_a_job: "wrongly failed",
    end_a_job_twice: "ended 2 times",
    charge_an_attempt: "was charged",
    change_a_sum: "right is",
    mix_up_two_values: "I25",
    leave_a_job_running: "doctor() found",
}


def test_each_damage_to_what_is_stored_is_reported(scene):
    scene.add(10)
    worker = scene.worker()
    scene.check()
    scene.kill(worker)
    stored = {key: scene.client.dump(key) for key in scene.client.scan_iter()}
    for damage, words in DAMAGES.items():
        scene.client.flushall()
        for key, dump in stored.items():
            scene.client.restore(key, 0, dump)
        damage(scene.client)
        wrong, _ = wrong_at_the_end(
            scene.work, scene.client, scene.log, scene.kills, connection=scene.connection
        )
        assert any(words in each for each in wrong), (damage.__name__, wrong)


def test_a_run_after_the_end_of_its_job_is_reported_whatever_was_killed(scene, monkeypatch):
    flow = scene.add(10)
    worker = scene.worker()
    flow.wait(timeout=30)
    scene.kill(worker)
    assert scene.check().again == 0
    monkeypatch.setenv(FILE, str(scene.log))
    note("+", "0.t.3")
    wrong, runs = wrong_at_the_end(
        scene.work, scene.client, scene.log, scene.kills, connection=scene.connection
    )
    assert runs.again == 1
    assert any("after its end was written" in each for each in wrong)


def test_a_run_without_a_kill_is_seen():
    assert not_explained([[BEFORE, AFTER]], [Kill(1, 11.0, 11.1)]) == []
    assert len(not_explained([[BEFORE, AFTER]], [])) == 1
    assert len(not_explained([[BEFORE, AFTER]], [Kill(2, 11.0, 11.1)])) == 1, "another process"
    assert not_explained([[BEFORE, AFTER]], [Kill(1, 11.0, 14.0)]) == [], "seen late"
    assert len(not_explained([[BEFORE, AFTER]], [Kill(1, 9.0, 9.1)])) == 1, "killed before it began"


def test_what_had_begun_at_a_kill_is_what_was_not_written():
    assert begun_at(Kill(1, 11.0, 11.1), [[BEFORE, AFTER]], {"a": 12.6}) == {"a"}
    assert begun_at(Kill(1, 11.0, 11.1), [[BEFORE, AFTER]], {"a": 10.6}) == set()
    assert begun_at(Kill(1, 9.0, 9.1), [[BEFORE, AFTER]], {}) == set()
