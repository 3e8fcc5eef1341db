"""Shows when `workers` serves: from the call on, until it is closed or called again; what ran before finishes."""

from __future__ import annotations

import threading

import pytest

import flownb as fn


@pytest.fixture
def gate():
    """Give what a job waits for; it opens at the end in any case."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def shared(own_server):
    """Give a server that is not embedded: nothing is served there unless somebody says so."""
    with fn.connect(own_server.url) as connection:
        yield connection


def test_workers_serve_from_the_call_on(shared):
    together = threading.Barrier(20)

    @fn.task
    def meet(x):
        together.wait(20)  # none goes on before twenty run
        return x

    serving = fn.workers(20)
    assert repr(serving) == "workers(concurrency=20, running)"
    batch = fn.fan_out([{"x": x} for x in range(40)], meet, rows_per_job=1)
    assert batch.results(timeout=40)["meet"].tolist() == list(range(40))
    serving.close()
    assert repr(serving) == "workers(concurrency=20, not running)"


def test_start_and_with_say_what_the_call_has_done_already(shared):
    @fn.task
    def work(x):
        return x

    serving = fn.workers(2).start()
    with serving as same:
        assert same is serving
        assert fn.add(work.node(1)).result(timeout=20) == 1
    assert not serving.running
    with serving:  # it may begin anew
        assert fn.add(work.node(2)).result(timeout=20) == 2
    serving.close()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_called_again_it_replaces_the_former_whose_running_jobs_finish(shared, tmp_path, until, executor):
    gate, begun = tmp_path / "open", tmp_path / "begun"

    @fn.task
    def work(x):
        import time

        if x == "long":
            begun.touch()
        while x == "long" and not gate.exists():
            time.sleep(0.02)
        return x

    former = fn.workers(1, executor=executor)
    long = fn.add(work.node("long"))
    until(begun.exists)  # a job that is only taken would go back
    second = fn.workers(1, executor=executor)
    assert (former.running, second.running) == (False, True)
    assert fn.add(work.node("short")).result(timeout=40) == "short"
    assert long.progress().active == 1
    gate.touch()
    assert long.result(timeout=20) == "long"
    assert shared.client().hmget(f"bull:work:{long.job.id}", "atm", "ats") == [b"1", b"1"]
    former.close()
    second.close()


def test_a_former_one_takes_no_more(shared, gate, until):
    @fn.task
    def work(x):
        if x == 0:
            begun.set()
            gate.wait(60)
        return threading.current_thread().name

    begun = threading.Event()
    former = fn.workers(1)
    first = fn.add(work.node(0))
    until(begun.is_set)  # a job that is only taken would go back
    fn.workers(1).close()
    waiting = fn.add(work.node(1))
    gate.set()
    assert first.result(timeout=20)
    former.close()  # waits for the end
    assert waiting.progress().completed == 0


def test_a_former_one_that_is_closed_gives_back_what_does_not_end(shared, gate, until):
    @fn.task
    def work(x):
        begun.set()
        gate.wait(60)
        return x

    begun = threading.Event()
    former = fn.workers(1)
    fn.add(work.node(1))
    until(begun.is_set)
    second = fn.workers(1)
    second.close()
    former.close(grace=0.1)
    [job] = fn.Queue("work").get_jobs("waiting")
    assert job.attempts_made == 0


def test_a_connection_that_closes_ends_former_ones_too(own_server, gate, until):
    @fn.task
    def work(x):
        return x

    with fn.connect(own_server.url):
        former = [fn.workers(2) for _ in range(5)]
        assert fn.add(work.node(1)).result(timeout=20) == 1
    assert not any(one.running for one in former)
    until(lambda: not [one for one in threading.enumerate() if "kernel" in one.name])


@pytest.mark.parametrize("asked", [{"concurrency": 0}, {"concurrency": "many"}, {"executor": "clouds"}])
def test_what_is_no_number_of_workers_is_refused_and_the_former_goes_on(shared, asked):
    @fn.task
    def work(x):
        return x

    with fn.workers(1) as former:
        with pytest.raises(fn.OptionError):
            fn.workers(**asked)
        assert former.running
        assert fn.add(work.node(1)).result(timeout=20) == 1
