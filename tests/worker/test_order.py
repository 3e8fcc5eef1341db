"""Shows in which order jobs run: first in first out, priorities, lifo, delays, many queues in turn."""

from __future__ import annotations

import datetime
import threading

import flownb as fn


def run_all(queue, until, jobs):
    ran = []
    with fn.Worker(queue.name, lambda job: ran.append(job.name)):
        until(lambda: queue.get_job_counts()["completed"] == jobs)
    return ran


def test_jobs_run_in_the_order_in_which_they_came(until):
    queue = fn.Queue("q")
    queue.add_bulk([{"name": f"j{i:03}"} for i in range(300)])
    assert run_all(queue, until, 300) == [f"j{i:03}" for i in range(300)]


def test_no_priority_goes_first_then_one_two_three_each_in_the_order_it_came(until):
    queue = fn.Queue("q")
    ranks = [3, 0, 1, 2, 1, 0, 2_097_151, 3]
    queue.add_bulk([{"name": f"{rank}.{i}", "opts": {"priority": rank}} for i, rank in enumerate(ranks)])
    assert queue.get_job_counts()["prioritized"] == 6
    assert run_all(queue, until, 8) == ["0.1", "0.5", "1.2", "1.4", "2.3", "3.0", "3.7", "2097151.6"]


def test_lifo_goes_to_the_head_of_the_line(until):
    queue = fn.Queue("q")
    queue.add_bulk([{"name": name, "opts": {"lifo": name.isupper()}} for name in ("a", "b", "C", "D")])
    assert run_all(queue, until, 4) == ["D", "C", "a", "b"]


def test_delayed_jobs_wait_their_time_and_come_in_the_order_they_are_due(redis, until):
    queue = fn.Queue("q")
    delays = [datetime.timedelta(hours=3), "1h", 7_200_000]
    queue.add_bulk([{"name": str(i), "opts": {"delay": delay}} for i, delay in enumerate(delays)])
    queue.add("now")
    assert [job.name for job in queue.get_jobs("delayed")] == ["1", "2", "0"]
    ran = []
    with fn.Worker("q", lambda job: ran.append(job.name)):
        until(lambda: ran == ["now"])
        assert queue.get_job_counts()["delayed"] == 3
        for n, job in enumerate(queue.get_jobs("delayed")):
            redis.zadd("bull:q:delayed", {job.id: 4096 * (n + 1)})
        redis.zadd("bull:q:marker", {"0": 0})
        until(lambda: len(ran) == 4)
    assert ran == ["now", "1", "2", "0"]


def test_a_short_delay_wakes_an_idle_worker_by_itself(until):
    queue = fn.Queue("q")
    with fn.Worker("q", lambda job: None):
        queue.add("warm")
        until(lambda: queue.get_job_counts()["completed"] == 1)
        job = queue.add("later", opts={"delay": 200})
        until(lambda: job.get_state() == "completed", seconds=3)
    job = queue.get_job(job.id)
    assert 0.195 < (job.processed_on - job.timestamp).total_seconds() < 2


def test_a_new_job_wakes_an_idle_worker_at_once(until):
    queue = fn.Queue("q")
    with fn.Worker("q", lambda job: None):
        for _ in range(20):
            job = queue.add("now")
            until(lambda job=job: job.get_state() == "completed", seconds=2)


def test_a_worker_of_many_queues_serves_them_in_turn(until):
    queues = [fn.Queue(f"q{i}") for i in range(10)]
    for queue in queues:
        queue.add_bulk([{"name": "j"} for _ in range(200)])
    ran = []
    with fn.Worker([queue.name for queue in queues], lambda job: ran.append(job.queue_name), concurrency=2):
        until(lambda: len(ran) == 2000)
    last_first = max(ran.index(queue.name) for queue in queues)
    assert last_first < 1500, "the last queue had to wait until the others were empty"


def test_a_long_job_does_not_hold_up_those_fetched_ahead_of_time_when_another_worker_is_idle(until):
    """A worker with quick jobs fetches more than it has threads; when one turns out long, others take the rest."""
    import threading

    may_end, long_runs = threading.Event(), threading.Event()

    def work(job):
        if job.name == "long":
            long_runs.set()
            assert may_end.wait(20)

    queue = fn.Queue("q")
    with fn.Worker("q", work):
        queue.add_bulk([{"name": "quick"} for _ in range(100)])
        queue.add("long")
        queue.add_bulk([{"name": "quick"} for _ in range(50)])
        assert long_runs.wait(20)
        with fn.Worker("q", work):
            until(lambda: queue.get_job_counts()["completed"] == 150, seconds=5)
        may_end.set()
    assert queue.get_job_counts()["completed"] == 151


def test_jobs_that_a_closing_worker_gives_back_keep_their_order(until):
    import threading

    started, may_end = threading.Event(), threading.Event()

    def work(job):
        if job.name == "stop":
            started.set()
            assert may_end.wait(20)

    queue = fn.Queue("q")
    queue.add_bulk([{"name": "quick"} for _ in range(100)])
    with fn.Worker("q", work) as worker:
        until(lambda: queue.get_job_counts()["completed"] == 100)  # quick jobs: it fetches ahead
        queue.pause()
        queue.add_bulk([{"name": "stop"}, *({"name": f"j{i}"} for i in range(30))])
        queue.resume()
        assert started.wait(20)
        closing = threading.Thread(target=worker.close)
        closing.start()
        until(lambda: queue.get_job_counts()["waiting"] == 30)
        may_end.set()
        closing.join()
    assert [job.name for job in queue.get_jobs("waiting")] == [f"j{i}" for i in range(30)]
    assert {job.attempts_made for job in queue.get_jobs("waiting")} == {0}


def test_queues_that_have_work_share_the_slots_equally(until):
    begun, gate = [], threading.Event()

    def work(job):
        begun.append(job.queue_name)
        gate.wait(60)

    for name in ("first", "second", "third"):
        fn.Queue(name).add_bulk([{"name": "j"}] * 20)
    try:
        with fn.Worker(["first", "second", "third", "idle"], work, concurrency=6):
            until(lambda: len(begun) == 6)
            assert sorted(begun) == ["first"] * 2 + ["second"] * 2 + ["third"] * 2
            gate.set()
            until(lambda: len(begun) == 60)
    finally:
        gate.set()


def test_a_slot_that_becomes_free_goes_to_the_queue_that_has_the_fewest(until):
    """Long jobs that hold all slots keep only their share once another queue has work."""
    long, short, may_end = [], [], threading.Semaphore(0)

    def work(job):
        if job.queue_name == "short":
            short.append(job.id)
        else:
            long.append(job.id)
            may_end.acquire(timeout=60)

    fn.Queue("long").add_bulk([{"name": "j"}] * 60)
    try:
        with fn.Worker(["long", "short"], work, concurrency=4):
            until(lambda: len(long) == 4)
            fn.Queue("short").add_bulk([{"name": "j"}] * 1000)
            may_end.release()  # one slot of four: it serves the other queue until that has nothing more
            until(lambda: len(short) == 1000)
            assert len(long) <= 5
            for _ in range(60):
                may_end.release()
            until(lambda: len(long) == 60)
    finally:
        for _ in range(100):
            may_end.release()


def test_short_rows_of_one_task_are_not_held_up_by_long_ones_of_another(until):
    begun, may_end = [], threading.Semaphore(0)

    @fn.task
    def slow(x):
        begun.append(x)
        may_end.acquire(timeout=60)
        return x

    @fn.task
    def quick(x):
        return -x

    try:
        with fn.workers(4):
            first = fn.fan_out([{"x": x} for x in range(60)], slow, rows_per_job=1)
            until(lambda: len(begun) == 4)
            second = fn.fan_out([{"x": x} for x in range(20_000)], quick)
            may_end.release()
            assert second.results(timeout=60)["quick"].sum() == -sum(range(20_000))
            assert len(begun) <= 5
            for _ in range(60):
                may_end.release()
            assert first.results(timeout=60)["slow"].tolist() == list(range(60))
    finally:
        for _ in range(100):
            may_end.release()
