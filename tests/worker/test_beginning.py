"""Shows when a job counts as begun: when its function is called, not when its worker has taken it ahead of that."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

import flownb as fn
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.store import Store
from flownb.worker.held_jobs import VISIBLE_SECONDS, HeldJobs
from flownb.worker.held_page import HeldPage
from flownb.worker.lease_keeper import keeper
from flownb.worker.run_outcomes import unbegun


class Ahead:
    """Quick jobs, of which a worker takes many at a time, and slow ones behind them, which it has taken with them."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.slow_one_runs = threading.Event()
        self.seconds = 0.3

    def __call__(self, job: fn.Job) -> None:
        if job.name == "slow":
            self.begun.append((job.id, time.time()))
            self.slow_one_runs.set()
            time.sleep(self.seconds)

    def times(self) -> list[float]:
        return [at for _, at in self.begun]


@pytest.fixture
def ahead(connection):
    return Ahead()


def add(queue, slow=20):
    queue.add_bulk([{"name": "quick"}] * 300 + [{"name": "slow"}] * slow)


def test_what_waits_in_a_worker_for_a_slot_is_no_longer_there_after_the_pause_of_its_queue(ahead, until):
    queue = fn.Queue("q")
    add(queue)
    with fn.Worker("q", ahead):
        assert ahead.slow_one_runs.wait(30)
        queue.pause()
        paused = time.time()
        until(lambda: queue.get_job_counts()["active"] == 0, seconds=30)
    assert not [at for at in ahead.times() if at > paused + 0.3]
    assert queue.get_job_counts()["waiting"] == 20 - len(ahead.begun)


@pytest.mark.parametrize("end", ["pause", "cancel"])
def test_what_waits_in_a_worker_obeys_its_flow(ahead, until, end):
    children = [{"name": name, "queueName": "q"} for name in ["quick"] * 300 + ["slow"] * 20]
    flow = fn.add({"name": "root", "queueName": "roots", "children": children})
    with fn.Worker("q", ahead):
        assert ahead.slow_one_runs.wait(30)
        getattr(flow, end)()
        ended = time.time()
        until(lambda: flow.progress().active == 0, seconds=30)
    assert not [at for at in ahead.times() if at > ended + 0.3]


def test_an_idle_worker_gets_jobs_that_another_had_taken_ahead(ahead):
    queue = fn.Queue("q")
    add(queue, slow=12)
    with fn.Worker("q", ahead, name="one"):
        assert ahead.slow_one_runs.wait(30)
        other = Ahead()
        with fn.Worker("q", other, name="two"):
            assert other.slow_one_runs.wait(10)


def test_another_queue_of_the_worker_does_not_wait_for_what_was_taken_ahead(ahead, until):
    add(fn.Queue("q"), slow=30)
    with fn.Worker(["q", "other"], ahead) as worker:
        assert worker.running
        assert ahead.slow_one_runs.wait(30)
        job = fn.Queue("other").add("quick")
        until(lambda: job.get_state() == "completed")
        assert len(ahead.begun) < 10


def test_counts_and_times_go_by_the_beginning(ahead, until):
    children = [{"name": name, "queueName": "q"} for name in ["quick"] * 300 + ["slow"] * 6]
    flow = fn.add({"name": "root", "queueName": "roots", "children": children})
    active = []
    with fn.Worker("q", ahead):
        while flow.progress().completed < 306:
            active.append(flow.progress().active)
    assert max(active) <= 1
    began = dict(ahead.begun)
    jobs = fn.Queue("q").get_jobs("completed", 0, 999)
    assert all(job.processed_on is not None for job in jobs)
    for job in jobs:
        if job.name == "slow":
            assert abs(job.processed_on.timestamp() - began[job.id]) < 0.1
    starts = sorted(job.processed_on.timestamp() for job in jobs if job.name == "slow")
    assert all(later - earlier > 0.25 for earlier, later in pairwise(starts))


def test_each_job_that_ran_tells_of_its_beginning_once_and_before_its_end(ahead, redis, until):
    queue = fn.Queue("q")
    add(queue, slow=2)
    with fn.Worker("q", ahead):
        until(lambda: queue.get_job_counts()["completed"] == 302, seconds=30)
    told: dict[str, list[str]] = {}
    for _, event in redis.xrange("bull:q:events"):
        if event[b"event"] in (b"active", b"completed"):
            told.setdefault(event[b"jobId"].decode(), []).append(event[b"event"].decode())
    assert set(map(tuple, told.values())) == {("active", "completed")}


def test_what_has_not_begun_takes_no_place_of_the_rate_limit(connection, until):
    queue = fn.Queue("q")
    queue.add_bulk([{"name": "quick"}] * 60)
    ran = []
    with fn.Worker("q", lambda job: ran.append(time.time()), limiter={"max": 20, "duration": 400}):
        until(lambda: len(ran) == 60, seconds=30)
    assert 0.5 < ran[-1] - ran[0] < 2.5


# ---- a function that holds the interpreter ----------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_waits_behind_a_function_that_holds_the_interpreter_goes_to_others(
    start_worker, redis, until, concurrency
):
    queue = fn.Queue("q")
    names = ["quick"] * 300 + ["holds"] + ["quick"] * 40
    jobs = queue.add_bulk([{"name": name} for name in names])
    start_worker("q", "hogs_by_name", concurrency=concurrency)
    until(lambda: redis.exists("holds"))
    with fn.Worker("q", lambda job: None):

        def left():
            ran = {id.decode() for id in redis.lrange("ran", 0, -1)}
            return [job for job in jobs if job.id not in ran and job.get_state() != "completed"]

        # A job that had begun in another slot, and had come to nothing yet, stands still with its interpreter.
        until(lambda: len(left()) < concurrency, seconds=100)
    until(lambda: queue.get_job(jobs[300].id).get_state() == "active", seconds=50)
    assert fn.doctor().empty


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_job_taken_ahead_that_holds_the_interpreter_is_active_though_nothing_waits_behind_it(
    start_worker, redis, until, concurrency
):
    queue = fn.Queue("q")
    holds = queue.add_bulk([{"name": name} for name in ["quick"] * 300 + ["holds"]])[300]
    start_worker("q", "hogs_by_name", concurrency=concurrency)
    until(lambda: redis.exists("holds"))
    until(lambda: holds.get_state() == "active")
    assert queue.get_job_counts()["waiting"] == 0
    assert queue.get_job(holds.id).processed_on is not None


@pytest.mark.parametrize("function", ["holds_before_it_reads", "holds_while_others_are_handed_out"])
def test_what_a_worker_has_fetched_and_not_handed_out_goes_to_others_too(
    start_worker, redis, until, function
):
    queue = fn.Queue("q")
    start_worker("q", function, concurrency=1)
    first = queue.add("first")
    until(lambda: redis.llen("ran") == 1 and first.get_state() == "completed")
    jobs = queue.add_bulk([{"name": name} for name in ["holds"] + ["quick"] * 20])
    until(lambda: redis.exists("holds") or queue.get_jobs("active") or redis.keys("bull:q:*:lock"))
    with fn.Worker("q", lambda job: None):
        until(lambda: all(job.get_state() == "completed" for job in jobs[1:]), seconds=50)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_timeout_ends_a_function_that_holds_the_interpreter(start_worker, redis, until, attempts):
    queue = fn.Queue("q")
    job = queue.add("holds", opts={"timeout": 1000, "attempts": attempts})
    start_worker("q", "hogs_by_name")
    until(lambda: redis.exists("holds"))
    ended = "failed" if attempts == 1 else "waiting"
    until(lambda: job.get_state() == ended)
    held_up = "ran longer than its timeout of 1 s, and holds its worker's interpreter"
    assert queue.get_job(job.id).failed_reason == f"JobTimeout: {held_up}"
    if attempts > 1:
        with fn.Worker("q", lambda job: "done"):
            until(lambda: job.get_state() == "completed")


def test_the_keeper_takes_what_waits_and_never_what_runs():
    page = HeldPage()
    worker = page.add_worker("w:")
    first = page.add_job("bull:q:a", "w:1", worker, None)
    assert [one.text for one in page.take_waiting(worker)] == [b"bull:q:a w:1"]
    assert not page.begin(first, worker, elsewhere=False), "it was given back"
    assert [one.text for one in page.take_waiting(worker)] == [b"bull:q:a w:1"], (
        "the server may not have heard"
    )
    page.free(first)
    again = page.add_job("bull:q:a", "w:2", worker, None)
    page.add_job("bull:q:b", "w:2", worker, None)
    assert page.begin(again, worker, elsewhere=False)
    assert [one.text for one in page.take_waiting(worker)] == [b"bull:q:b w:2"]


def test_the_keeper_takes_no_job_that_has_come_into_the_place_of_one_that_waited(monkeypatch):
    """A worker that is slow, and not held up, goes on while the keeper looks: its next job would wait for ever."""
    page = HeldPage()
    worker = page.add_worker("w:")
    first = page.add_job("bull:q:a", "w:1", worker, None)
    entries, places = page.entries, []

    def outdated():
        found = entries()
        page.free(first)
        places.append(page.add_job("bull:q:b", "w:2", worker, None))
        return found

    monkeypatch.setattr(page, "entries", outdated)
    assert page.take_waiting(worker) == []
    assert places == [first]
    assert [one.is_taken for one in entries() if one.text == b"bull:q:b w:2"] == [False]
    assert page.begin(first, worker, elsewhere=False)


@pytest.fixture
def held(redis):
    """Give the held jobs of a worker whose slots run nothing, and what takes a job of the queue `q` for them."""
    lane = SimpleNamespace(put=lambda held: None, note_end=lambda held: None)
    held = HeldJobs(SimpleNamespace(of=lambda base: lane), 0)
    leases = Store(redis, "bull").leases

    def take(call):
        worker = FetchingWorker(token=f"w:{call}", lock_ms=60_000, free=0)
        held.hand_out(leases.finish_and_fetch(["bull:q"], outcomes=[], want=1, worker=worker).taken, call)

    yield held, take, leases
    for one in held.jobs.values():
        keeper.page.free(one.entry)


def test_a_job_that_the_keeper_gave_back_and_its_worker_took_again_is_known_to_run(held):
    """What a worker does not know of its jobs it gives back: then another one runs them too."""
    held, take, leases = held
    fn.Queue("q").add("j")
    take(1)
    (job,) = held.jobs.values()
    leases.give_back("bull:q", {job.taken.record.id: "w:1"})
    take(2)
    held.end(job, unbegun(job.taken, job.held_since), 0.0)
    assert held.known() == {("bull:q", job.taken.record.id)}
    assert [one.taken.token for one in held.jobs.values()] == ["w:2"]


def test_a_beginning_counts_as_told_once_the_server_has_answered(held):
    """Until then the keeper tells of it, should the interpreter be held."""
    held, take, _ = held
    fn.Queue("q").add("j")
    take(1)
    (job,) = held.jobs.values()

    def is_untold():
        return [one.is_untold for one in keeper.page.entries() if one.number == job.entry] == [True]

    job.started = time.monotonic()
    held.tell_beginnings(job.started + VISIBLE_SECONDS)
    assert [outcome.kind for outcome in held.pending] == ["begun"]
    held.note_answer()  # of a call that did not have it
    assert is_untold()
    held.write_again(held.outcomes_of_a_call())  # without an answer
    held.note_answer()
    assert is_untold()
    held.outcomes_of_a_call()
    held.note_answer()
    assert not is_untold()


def test_a_job_that_begins_just_after_the_worker_has_looked_is_looked_at_again(held):
    """The worker found nothing due then, and slept for seconds: the job was said to wait."""
    held, take, _ = held
    fn.Queue("q").add("j")
    take(1)
    now = time.monotonic()
    assert now < held.tell_beginnings(now) <= now + VISIBLE_SECONDS


def test_the_page_of_held_jobs_is_empty_when_a_worker_has_closed(ahead, until):
    queue = fn.Queue("q")
    add(queue, slow=3)
    before = keeper.page.entries()
    with fn.Worker("q", ahead, concurrency=2):
        until(lambda: queue.get_job_counts()["completed"] == 303, seconds=30)
    assert keeper.page.entries() == before


# ---- deaths -----------------------------------------------------------------------------------------------


def serve_until_all_have_ended(queue, start_worker, until, jobs, **options):
    """Start worker after worker, each as the last has died, until no job is left; return how many died."""

    def ended():
        counts = queue.get_job_counts()
        return counts["completed"] + counts["failed"] == jobs

    deaths = 0
    while not ended():
        worker = start_worker("q", "dies_by_name", **options)
        until(lambda worker=worker: ended() or worker.process.poll() is not None, seconds=60)
        deaths += worker.process.poll() is not None
        until(lambda: ended() or queue.get_job_counts()["active"] == 0)
    return deaths


@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_job_that_kills_its_process_fails_alone(start_worker, until, most, concurrency):
    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": "dies" if i == 30 else "quick"} for i in range(130)])
    options = {"concurrency": concurrency, "max_stalled_count": most, "lock_duration": 2}
    deaths = serve_until_all_have_ended(queue, start_worker, until, 130, **options)
    (failed,) = queue.get_jobs("failed")
    assert failed.id == jobs[30].id
    assert failed.failed_reason == f"crashed its worker {deaths} time{'s' if deaths > 1 else ''}"
    assert most + 1 <= deaths <= most + 1 + min(2, most + 1)


def test_healthy_long_jobs_beside_one_that_kills_their_process_are_told_apart(start_worker, redis, until):
    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": "gated"}] * 3 + [{"name": "dies"}])
    for _ in range(4):
        worker = start_worker("q", "dies_by_name", concurrency=4)
        until(lambda worker=worker: worker.process.poll() is not None)
        until(lambda: queue.get_job_counts()["active"] == 0)
    redis.set("gate", 1)
    serve_until_all_have_ended(queue, start_worker, until, 4, concurrency=4)
    assert [job.id for job in queue.get_jobs("failed")] == [jobs[3].id]
    assert {job.id for job in queue.get_jobs("completed")} == {job.id for job in jobs[:3]}


def test_a_group_whose_worker_died_before_it_began_is_charged_with_nothing(start_worker, redis, until):
    queue = fn.Queue("q")
    (first, second) = queue.add_bulk([{"name": "gated"}, {"name": "gated"}])
    worker = start_worker("q", "dies_by_name")
    until(lambda: redis.llen("ran") == 1)
    worker.kill()
    until(lambda: queue.get_job_counts()["waiting"] == 2)
    assert [redis.hget(f"bull:q:{job.id}", "stc") for job in (first, second)] == [b"1", None]
