"""Shows that a server that dies, forgets its scripts or loses its replies costs no job, no attempt and no crash."""

from __future__ import annotations

import collections
import threading

import pytest

import flownb as fn


def test_a_server_killed_while_jobs_run_has_their_results_when_it_is_back(own_server, until):
    inside, may_end = threading.Barrier(5), threading.Event()

    def work(job):
        if job.data < 4:
            inside.wait(20)
            assert may_end.wait(30)
        return job.data

    with fn.Connection(own_server.url) as connection:
        queue = fn.Queue("q", connection=connection)
        jobs = queue.add_bulk([{"name": "j", "data": i} for i in range(20)])
        with fn.Worker("q", work, concurrency=4, connection=connection, lock_duration=1):
            inside.wait(20)
            own_server.kill()
            may_end.set()  # they end while nobody listens
            own_server.start()
            until(lambda: queue.get_job_counts()["completed"] == 20)
        found = [queue.get_job(job.id) for job in jobs]
        assert [job.returnvalue for job in found] == list(range(20))
        assert {job.attempts_made for job in found} == {1}
        client = connection.client()
        assert [client.hget(f"bull:q:{job.id}", "stc") for job in jobs] == [None] * 20
        assert {client.hget(f"bull:q:{job.id}", "ats") for job in jobs[:4]} == {b"1"}


def test_four_kills_of_the_server_in_a_row_lose_and_fail_nothing(own_server, until):
    with fn.Connection(own_server.url) as connection:
        children = [{"name": f"c{i}", "queueName": "rows", "data": i} for i in range(300)]
        flow = fn.add({"name": "total", "queueName": "totals", "children": children}, connection=connection)
        pause = threading.Event()
        work = lambda job: (pause.wait(0.01), job.data)[1]  # noqa: E731
        total = lambda job: sum(job.get_children_values().values())  # noqa: E731
        with (
            fn.Worker("rows", work, concurrency=4, connection=connection, stalled_interval=0.2),
            fn.Worker("totals", total, connection=connection),
        ):
            for kill in range(4):
                until(lambda kill=kill: flow.progress().completed > 30 * kill)
                own_server.kill()
                own_server.start()
            assert flow.result(timeout=30) == sum(range(300))
        rows = fn.Queue("rows", connection=connection).get_jobs("completed", 0, 999)
        assert len(rows) == 300
        assert {job.attempts_made for job in rows} == {1}
        assert {connection.client().hget(f"bull:rows:{job.id}", "stc") for job in rows} == {None}


def test_a_wait_goes_on_when_the_server_comes_back(own_server, until):
    with fn.Connection(own_server.url) as connection:
        flow = fn.add({"name": "j", "queueName": "q"}, connection=connection)
        results = []
        waiting = threading.Thread(target=lambda: results.append(flow.result(timeout=30)))
        waiting.start()
        own_server.kill()
        own_server.start()
        with fn.Worker("q", lambda job: "there", connection=connection):
            waiting.join(30)
    assert results == ["there"]


def test_a_server_that_forgets_its_scripts_goes_unnoticed(redis, until, caplog):
    done = threading.Event()
    flushes = 0

    def flush():
        nonlocal flushes
        while not done.is_set():
            redis.script_flush()
            flushes += 1

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        with (
            fn.Worker("rows", lambda job: 1, concurrency=4),
            fn.Worker("totals", lambda job: len(job.get_children_values())),
        ):
            for _ in range(5):
                children = [{"name": "c", "queueName": "rows"} for _ in range(100)]
                assert (
                    fn.add({"name": "t", "queueName": "totals", "children": children}).result(timeout=20)
                    == 100
                )
    finally:
        done.set()
        flushing.join()
    assert flushes > 50
    assert not [record for record in caplog.records if record.name == "flownb.worker"]


def through(way):
    return fn.Connection(f"unix://{way.socket}")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_producer_that_loses_replies_adds_nothing_twice_and_misses_nothing(own_server, lossy, seed):
    way = lossy(0.05, seed=seed)
    with through(way) as connection, fn.Connection(own_server.url) as direct:
        queue = fn.Queue("q", connection=connection)
        for i in range(200):
            queue.add("j", i)
        flows = [
            fn.add(
                {
                    "name": "t",
                    "queueName": "t",
                    "children": [{"name": "c", "queueName": "c"} for _ in range(5)],
                },
                connection=connection,
            )
            for _ in range(20)
        ]
        assert way.dropped > 5
        there = fn.Queue("q", connection=direct)
        assert sorted(job.data for job in there.get_jobs("waiting", 0, 999)) == list(range(200))
        assert fn.Queue("c", connection=direct).get_job_counts()["waiting"] == 100
        assert [fn.Flow(flow._stored.id, connection=direct).progress().total for flow in flows] == [6] * 20


@pytest.mark.parametrize(("share", "seed"), [(0.05, 1), (0.1, 2), (0.3, 3)])
def test_a_worker_that_loses_replies_runs_every_job_once(own_server, lossy, until, share, seed, monkeypatch):
    from flownb.worker import recovery

    monkeypatch.setattr(recovery.random, "uniform", lambda low, high: 0.05)  # shorter pauses after a failure
    way = lossy(share, seed=seed)
    ran = collections.Counter()
    noting, pause = threading.Lock(), threading.Event()

    def work(job):
        with noting:
            ran[job.data] += 1
        pause.wait(0.002)
        return job.data

    with fn.Connection(own_server.url) as direct, through(way) as connection:
        flows = []
        with (
            fn.Worker("rows", work, concurrency=4, connection=connection),
            fn.Worker("totals", lambda job: sum(job.get_children_values().values()), connection=direct),
        ):
            while way.dropped <= 2:  # how many calls carry so many jobs depends on the machine
                numbers = range(300 * len(flows), 300 * len(flows) + 300)
                children = [{"name": f"c{i}", "queueName": "rows", "data": i} for i in numbers]
                flows.append(
                    fn.add({"name": "t", "queueName": "totals", "children": children}, connection=direct)
                )
                assert flows[-1].result(timeout=60) == sum(numbers)
        assert ran == collections.Counter(range(300 * len(flows)))
        assert {(flow.progress().completed, flow.progress().failed) for flow in flows} == {(301, 0)}
        rows = fn.Queue("rows", connection=direct).get_jobs("completed", 0, 99_999)
        assert {job.attempts_made for job in rows} == {1}
        assert not direct.client().llen("bull:rows:active")


def test_jobs_taken_by_a_call_whose_answer_was_lost_are_found_although_the_first_search_fails_too(
    own_server, lossy, until
):
    """Their lease is kept alive by the keeper, so nobody else would ever take them."""
    way = lossy(0)
    with fn.Connection(own_server.url) as direct, through(way) as connection:
        queue = fn.Queue("q", connection=direct)
        with fn.Worker("q", lambda job: job.data, connection=connection):
            warm = queue.add("warm")
            until(lambda: warm.get_state() == "completed")
            way.lose = b"lost on its way"
            job = queue.add("j", "lost on its way")
            until(lambda: job.get_state() == "completed", seconds=10)
        assert way.dropped == 2
        assert queue.get_job(job.id).attempts_made == 1
