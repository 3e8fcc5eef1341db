"""Shows who may say how a job ended: hogs keep their lease, a late end counts if nobody took the job, else not."""

from __future__ import annotations

import json

import pytest

import flownb as fn
from flownb.wire.lease_records import FetchingWorker, Lease
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store


def hash_of(redis, job, *fields):
    return [None if value is None else value.decode() for value in redis.hmget(f"bull:q:{job.id}", fields)]


def test_a_job_that_holds_the_interpreter_longer_than_its_lease_runs_once(redis, start_worker, until):
    queue = fn.Queue("q")
    job = queue.add("hog", {"seconds": 7})
    start_worker("q", "hog", lock_duration=3, stalled_interval=0.2)
    until(lambda: redis.llen("ran") == 1)
    with fn.Worker("q", lambda job: "stolen", stalled_interval=0.2):  # would take it if its lease ended
        until(lambda: job.get_state() == "completed", seconds=30)
    assert queue.get_job(job.id).returnvalue > 6.9
    assert hash_of(redis, job, "ats", "atm", "stc") == ["1", "1", None]


def frozen(redis, start_worker, until, **options):
    """Freeze a worker and its keeper while a job runs until its lease has run out; give the job and the worker."""
    job = fn.Queue("q").add("j", {})
    worker = start_worker(["q", "own"], "first_run_is_gated", lock_duration=1, **options)
    until(lambda: redis.llen("ran") == 1)
    worker.freeze()
    until(lambda: not redis.exists(f"bull:q:{job.id}:lock"))
    return job, worker


def test_a_frozen_workers_late_end_is_refused_when_another_has_run_the_job(redis, start_worker, until):
    job, worker = frozen(redis, start_worker, until, stalled_interval=0.2)
    with fn.Worker("q", lambda job: "taken over", stalled_interval=0.2):
        until(lambda: job.get_state() == "completed")
    redis.set("gate", 1)
    worker.thaw()
    sign = fn.Queue("own").add("sign", {})  # the thawed worker alone serves this queue, after its late end
    until(lambda: sign.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).returnvalue == "taken over"
    assert hash_of(redis, job, "ats", "atm") == ["2", "1"]
    events = [fields for _, fields in redis.xrange("bull:q:events") if fields[b"event"] == b"completed"]
    assert len(events) == 1


def test_a_frozen_workers_late_end_is_accepted_when_nobody_took_the_job(redis, start_worker, until):
    job, worker = frozen(redis, start_worker, until, stalled_interval=60)
    redis.set("gate", 1)
    worker.thaw()
    until(lambda: job.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).returnvalue == 1
    assert hash_of(redis, job, "ats", "stc") == ["1", None]


def take(store, token="t1", want=1):
    worker = FetchingWorker(token=token, lock_ms=15_000)
    return store.leases.finish_and_fetch(["bull:q"], outcomes=[], want=want, worker=worker).taken


def end(store, taken, kind="completed", token=None, **more):
    run = taken.base, taken.record.id, token or taken.token, taken.record.attempts_started
    outcome = Outcome(*run, kind, '"done"', **more)
    worker = FetchingWorker(token="t9", lock_ms=15_000)
    return store.leases.finish_and_fetch(["bull:q"], outcomes=[outcome], want=0, worker=worker).answers[0]


def test_an_end_that_is_sent_twice_is_written_once(redis):
    flow = fn.add({"name": "top", "queueName": "top", "children": [{"name": "j", "queueName": "q"}]})
    store = Store(redis, "bull")
    [taken] = take(store)
    assert [end(store, taken), end(store, taken), end(store, taken)] == ["done", "repeated", "repeated"]
    assert flow.state == "waiting"
    assert fn.Queue("top").get_job_counts()["waiting"] == 1
    assert flow.progress().completed == 1
    assert list(flow.job.get_children_values().values()) == ["done"]
    assert len([1 for _, fields in redis.xrange("bull:q:events") if fields[b"event"] == b"completed"]) == 1


def test_a_retry_that_is_sent_twice_charges_one_attempt(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    [taken] = take(store)
    more = {"reason": "no", "stacktrace": json.dumps([]), "delay": 60_000, "lifo": False}
    assert [end(store, taken, "retry", **more) for _ in range(2)] == ["done", "repeated"]
    assert fn.Queue("q").get_job(job.id).attempts_made == 1
    assert job.get_state() == "delayed"


def test_an_end_with_a_foreign_token_is_refused_and_writes_nothing(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    [taken] = take(store)
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    assert end(store, taken, token="somebody") == "stale"
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
    assert job.get_state() == "active"


def test_the_end_of_a_job_that_was_removed_is_refused(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    [taken] = take(store)
    redis.delete(f"bull:q:{job.id}", f"bull:q:{job.id}:lock")
    assert end(store, taken) == "missing"


def test_a_lease_that_ran_out_is_taken_anew_unless_somebody_started_the_job(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    take(store)
    redis.delete(f"bull:q:{job.id}:lock")
    assert store.leases.extend(["bull:q"], [Lease("bull:q", job.id, "t1")], lock_ms=1000) == [job.id]
    assert store.leases.extend(["bull:q"], [Lease("bull:q", job.id, "t1", 1)], lock_ms=1000) == []
    assert redis.get(f"bull:q:{job.id}:lock") == b"t1"
    redis.delete(f"bull:q:{job.id}:lock")
    redis.hset(f"bull:q:{job.id}", "ats", 2)
    assert store.leases.extend(["bull:q"], [Lease("bull:q", job.id, "t1", 1)], lock_ms=1000) == [job.id]


def test_a_job_without_a_lease_is_suspected_at_one_sweep_and_moved_at_the_next(redis, until):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    take(store)
    redis.delete(f"bull:q:{job.id}:lock")
    assert store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3).stalled == []
    assert (
        store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3).stalled == []
    )  # somebody has swept just now
    assert job.get_state() == "active"
    redis.delete("bull:q:stalled-check")
    assert store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3).stalled == [job.id]
    assert job.get_state() == "waiting"


def test_a_suspect_that_has_renewed_its_lease_is_left_alone(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    take(store)
    lease = redis.getdel(f"bull:q:{job.id}:lock")
    store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3)
    assert redis.smembers("bull:q:stalled") == {job.id.encode()}
    redis.set(f"bull:q:{job.id}:lock", lease)
    redis.delete("bull:q:stalled-check")
    assert store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3).stalled == []
    assert job.get_state() == "active"


@pytest.mark.parametrize(("starts", "answer"), [("1", "done"), ("2", "stale")])
def test_without_a_lease_an_end_counts_unless_somebody_has_started_the_job_since(redis, starts, answer):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    [taken] = take(store)
    redis.delete(f"bull:q:{job.id}:lock")
    redis.hset(f"bull:q:{job.id}", "ats", starts)
    assert end(store, taken) == answer
    assert job.get_state() == ("completed" if answer == "done" else "active")


def test_an_end_counts_although_the_job_waits_again_already(redis):
    job = fn.Queue("q").add("j")
    store = Store(redis, "bull")
    [taken] = take(store)
    redis.delete(f"bull:q:{job.id}:lock")
    for _ in range(2):
        redis.delete("bull:q:stalled-check")
        store.leases.sweep_stalled(["bull:q"], interval=60_000, most=3)
    assert job.get_state() == "waiting"
    assert end(store, taken) == "done"
    assert job.get_state() == "completed"
    assert not redis.exists("bull:q:wait")
