"""Shows that a listener hears every step of every job, once and in order, and that nothing it meets stops it."""

from __future__ import annotations

import dataclasses
import datetime
import gc
import threading

import pytest

import flownb as fn
from flownb.api import event_reader as module
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.store import Store
from tests.support.event_listeners import listening, names_of, threads

# ---- what is told -------------------------------------------------------------------------------------------


def test_the_life_of_a_flow_is_told_step_by_step(until):
    runs = []

    def work(job):
        runs.append(job.id)
        job.update_progress({"done": 50})
        if job.name == "poor":
            raise ValueError("no")
        if len(runs) == 1:
            raise OSError("not yet")
        return {"n": 7}

    heard = []
    later = {"attempts": 2, "backoff": 30}
    rows = [{"name": "good", "queueName": "rows", "opts": later}]
    with listening("rows", heard), listening("totals", heard):
        flow = fn.add({"name": "total", "queueName": "totals", "children": rows})
        with fn.Worker("rows", work), fn.Worker("totals", lambda job: 1):
            flow.wait(timeout=20)
            until(lambda: names_of(heard, flow.job.id)[-1:] == ["completed"])
            poor = fn.Queue("rows").add("poor", opts={"failParentOnFailure": True})
            fn.Queue("rows").add("again", opts={"jobId": "same-id"})
            fn.Queue("rows").add("again", opts={"jobId": "same-id"})
            until(lambda: names_of(heard, poor.id)[-1:] == ["retries-exhausted"])
            until(lambda: "duplicated" in names_of(heard, "same-id"))
        fn.Queue("rows").pause()
        fn.Queue("rows").resume()
        until(lambda: heard[-1].name == "resumed")
    good = next(event.job_id for event in heard if event.data.get("name") == "good")
    assert names_of(heard, good) == [
        *("added", "waiting", "active", "progress", "delayed"),
        *("waiting", "active", "progress", "completed"),
    ]
    assert names_of(heard, flow.job.id) == ["added", "waiting-children", "waiting", "active", "completed"]
    assert names_of(heard, poor.id) == [
        *("added", "waiting", "active", "progress", "failed", "retries-exhausted")
    ]
    assert [event.name for event in heard if event.job_id is None][-2:] == ["paused", "resumed"]
    assert "drained" in {event.name for event in heard}
    by_name = {event.name: event for event in heard if event.job_id == good}
    assert by_name["completed"].data == {"returnvalue": {"n": 7}}
    assert by_name["completed"].prev == "active"
    assert by_name["progress"].data == {"progress": {"done": 50}}
    due = by_name["delayed"].delay
    assert due.tzinfo is datetime.UTC
    assert abs(datetime.datetime.now(datetime.UTC) - due) < datetime.timedelta(minutes=1)
    by_name = {event.name: event for event in heard if event.job_id == poor.id}
    assert by_name["failed"].data == {"failed_reason": "ValueError: no"}
    assert by_name["retries-exhausted"].data == {"attempts_made": 1}
    assert repr(by_name["failed"]) == "Event('failed', {'failed_reason': 'ValueError: no'})"
    with pytest.raises(dataclasses.FrozenInstanceError):
        by_name["failed"].name = "completed"


def test_a_stalled_job_is_told_of(redis, until):
    heard = []
    with listening("q", heard):
        job = fn.Queue("q").add("j")
        store = Store(redis, "bull")
        worker = FetchingWorker(token="t", lock_ms=60_000)
        store.leases.finish_and_fetch(["bull:q"], outcomes=[], want=1, worker=worker)
        redis.delete(f"bull:q:{job.id}:lock")
        for _ in range(2):
            redis.delete("bull:q:stalled-check")
            store.leases.sweep_stalled(["bull:q"], interval=1000, most=3)
        until(lambda: names_of(heard, job.id)[-1:] == ["stalled"])
    assert names_of(heard, job.id) == ["added", "waiting", "active", "waiting", "stalled"]


def test_a_thousand_jobs_are_each_told_of_once_and_in_order(until):
    heard = []
    rows = [{"name": f"r{i}", "queueName": "rows", "data": i} for i in range(1000)]
    with listening("rows", heard):
        flow = fn.add({"name": "total", "queueName": "totals", "children": rows})
        with fn.Worker("rows", lambda job: job.data, concurrency=4), fn.Worker("totals", lambda job: None):
            flow.wait(timeout=60)
        until(lambda: sum(event.name == "completed" for event in heard) == 1000)
    ids = [event.id for event in heard]
    assert len(set(ids)) == len(ids)
    assert sorted(ids, key=module._order) == ids
    steps = {}
    for event in heard:
        if event.job_id:
            steps.setdefault(event.job_id, []).append(event.name)
    assert len(steps) == 1000
    assert {tuple(names) for names in steps.values()} == {("added", "waiting", "active", "completed")}
    assert sorted(e.data["returnvalue"] for e in heard if e.name == "completed") == list(range(1000))


def test_nothing_that_happens_after_the_start_is_missed(until):
    """``$`` is where the stream is at `start`, not where it is when the thread first asks."""
    fn.Queue("q").add("before")
    for _ in range(30):
        heard = []
        with listening("q", heard):
            job = fn.Queue("q").add("j")
            until(lambda heard=heard: heard)
        assert heard[0].job_id == job.id


@pytest.mark.parametrize("since", ["0", "$"])
def test_a_loop_over_a_started_listener_has_what_came_before_the_loop(since):
    fn.Queue("q").add("first")
    with fn.QueueEvents("q", last_event_id=since) as heard:
        fn.Queue("q").add("second")
        threading.Event().wait(0.2)  # in which a reader that waits for nobody has told it to nobody
        names = (event.data["name"] for event in heard if event.name == "added")
        assert next(names) == ("first" if since == "0" else "second")


def test_older_events_are_told_when_asked_for(until):
    job = fn.Queue("q").add("j")
    heard = []
    with listening("q", heard, last_event_id="0"):
        until(lambda: len(heard) == 2)
    assert names_of(heard, job.id) == ["added", "waiting"]
    again = []
    with listening("q", again, last_event_id=heard[0].id):
        until(lambda: again)
    assert again == heard[1:]


# ---- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("complete", r"'complete': there is no such event; did you mean 'completed'\?"),
        ("retries_exhausted", r"did you mean 'retries-exhausted'\?"),
        ("xyzzy", "there are added, waiting, delayed, .*, paused, resumed"),
        (7, "event 7: there is no such event"),
    ],
)
def test_an_unknown_event_is_refused_with_the_nearest(name, hint):
    with pytest.raises(fn.OptionError, match=hint):
        fn.QueueEvents("q").on(name, print)


def test_what_does_not_fit_is_refused():
    with pytest.raises(fn.OptionError, match="function: one that takes an event, not str"):
        fn.QueueEvents("q").on("completed", "print")
    with pytest.raises(fn.FlowError, match="must not hold a colon"):
        fn.QueueEvents("a:b")
    with pytest.raises(fn.OptionError, match="last_event_id: '\\$', '0' or an event's id, not 'yesterday'"):
        fn.QueueEvents("q", last_event_id="yesterday")


# ---- loops --------------------------------------------------------------------------------------------------


def test_a_loop_in_a_thread_has_every_event_and_ends_with_close(until):
    heard, ready = [], threading.Event()
    events = fn.QueueEvents("q")

    def listen():
        loop = iter(events)
        ready.set()
        heard.extend(loop)

    listener = threading.Thread(target=listen)
    listener.start()
    assert ready.wait(20)
    assert events.running
    jobs = fn.Queue("q").add_bulk([{"name": f"j{i}"} for i in range(100)])
    with fn.Worker("q", lambda job: None):
        until(lambda: sum(event.name == "completed" for event in heard) == 100)
    events.close()
    listener.join(20)
    assert not listener.is_alive()
    assert [e.job_id for e in heard if e.name == "added"] == [job.id for job in jobs]
    assert not threads()


def test_two_loops_and_a_function_hear_the_same(until):
    heard = []
    with listening("q", heard) as events:
        one, two = iter(events), iter(events)
        fn.Queue("q").add_bulk([{"name": "j"}] * 20)
        until(lambda: len(heard) == 40)
    assert list(one) == list(two) == heard
    assert list(one) == []  # it stays at its end


def test_a_loop_that_was_left_holds_nothing_up(until, monkeypatch):
    monkeypatch.setattr(module, "MAX_AHEAD", 10)
    heard = []
    with listening("q", heard) as events:
        loops = [iter(events), iter(events)]
        fn.Queue("q").add_bulk([{"name": "j"}] * 50)
        until(lambda: all(loop.is_full() for loop in loops))
        assert len(heard) <= 12  # a loop that is not read holds the reading up
        loops.clear()
        gc.collect()
        until(lambda: len(heard) == 100)


def test_a_loop_over_a_closed_listener_starts_it_again(until):
    events = fn.QueueEvents("q")
    for _ in range(3):
        loop = iter(events)
        job = fn.Queue("q").add("j")
        assert next(loop).job_id == job.id
        events.close()
        assert not events.running


# ---- start and close ----------------------------------------------------------------------------------------


def test_nothing_starts_before_it_is_asked_to():
    events = fn.QueueEvents("q")
    assert repr(events) == "QueueEvents('q', not running)"
    assert not threads()
    events.close()
    with events:
        assert repr(events) == "QueueEvents('q', running)"
        assert [(thread.name, thread.daemon) for thread in threads()] == [("flownb-q-events", True)]
        with pytest.raises(RuntimeError, match=r"is running already; close\(\) it first"):
            events.start()
    events.close()
    events.close()
    assert not threads()


def test_the_first_function_starts_it_and_a_start_after_that_is_no_second_one(until):
    heard = []
    events = fn.QueueEvents("q").on("waiting", heard.append).on("added", heard.append)
    assert events.running
    assert events.start() is events
    with pytest.raises(RuntimeError, match="is running already"):
        events.start()
    fn.Queue("q").add("j")
    until(lambda: [event.name for event in heard] == ["added", "waiting"])
    events.close()
    events.on("completed", heard.append)
    assert not events.running  # closed is closed
    assert not threads()


def test_a_listener_to_the_past_starts_when_all_its_functions_are_there(until):
    fn.Queue("q").add("j")
    heard = []
    events = fn.QueueEvents("q", last_event_id="0").on("waiting", heard.append)
    assert not events.running
    with events.on("added", heard.append):
        until(lambda: [event.name for event in heard] == ["added", "waiting"])


def test_a_function_that_could_not_be_heard_is_not_kept(own_server, until):
    connection = fn.Connection(own_server.url)
    connection.client().ping()
    own_server.kill()
    heard = []
    events = fn.QueueEvents("q", connection=connection)
    with pytest.raises(fn.ServerUnreachable):
        events.on("added", heard.append)
    own_server.start()
    with events.on("added", heard.append):
        fn.Queue("q", connection=connection).add("j")
        until(lambda: heard)
    assert [event.name for event in heard] == ["added"]
    connection.close()


def test_a_function_may_close_the_listener(until):
    closed = threading.Event()
    events = fn.QueueEvents("q")
    events.on("waiting", lambda event: (events.close(), closed.set()))
    with events:
        fn.Queue("q").add("j")
        assert closed.wait(20)
        until(lambda: not threads())
        assert not events.running


def test_a_function_may_close_it_while_another_thread_does(until):
    inside, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    events = fn.QueueEvents("q")

    def close(event):
        inside.set()
        go_on.wait(20)
        events.close()
        closed.set()

    events.on("waiting", close).start()
    fn.Queue("q").add("j")
    assert inside.wait(20)
    other = threading.Thread(target=events.close)
    other.start()
    until(lambda: not events.running)
    go_on.set()
    assert closed.wait(5)
    other.join(5)
    assert not other.is_alive()


def test_closing_the_connection_closes_its_listeners(server_folder):
    with fn.Connection(path=server_folder) as connection:
        events = fn.QueueEvents("q", connection=connection).start()
        loop = iter(events)
    assert not events.running
    assert list(loop) == []
    assert not threads()


def test_a_hundred_starts_and_closes_leak_no_thread_and_no_connection(redis, until):
    for _ in range(100):
        fn.QueueEvents("q").start().close()
    assert not threads()
    until(lambda: redis.info("clients")["connected_clients"] < 15)
