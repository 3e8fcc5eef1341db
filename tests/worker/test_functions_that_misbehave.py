"""Shows that whatever a function raises or returns, its job fails with a reason and the worker goes on."""

from __future__ import annotations

import threading

import pytest

import flownb as fn


class Odd(BaseException):
    pass


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


def raised(error):
    def function(job):
        raise error

    return function


def run(function, until, attempts=3):
    """Run the function on one job, and then another job with the same worker; give the first job."""
    queue = fn.Queue("q")
    job = queue.add("bad", opts={"attempts": attempts})

    def first_bad(job):
        return function(job) if job.name == "bad" else "alive"

    with fn.Worker("q", first_bad):
        until(lambda: job.get_state() in ("failed", "completed"))
        good = queue.add("good")
        until(lambda: good.get_state() == "completed")
    return queue.get_job(job.id)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (Odd("strange"), "Odd: strange"),
        (Silent(), "Silent: (its message could not be made)"),
        (Unpicklable(), "Unpicklable: locked"),
        (ValueError("half \ud800 a character"), "ValueError: half \\ud800 a character"),
        (ValueError("a\nb\0c"), "ValueError: a\nb\0c"),
        (AssertionError(), "AssertionError"),
        (ExceptionGroup("many", [ValueError("1"), KeyError("2")]), "ExceptionGroup: many (2 sub-exceptions)"),
        (StopIteration(5), "StopIteration: 5"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_any_exception_fails_the_job_after_its_attempts(until, error, reason):
    job = run(raised(error), until, attempts=2)
    assert (job.failed_reason, job.attempts_made) == (reason, 2)
    assert len(job.stacktrace) == 2


def test_a_huge_message_is_cut(until):
    job = run(raised(ValueError("x" * 10_000_000)), until, attempts=1)
    assert len(job.failed_reason) == 2000
    assert job.failed_reason.endswith("x…")
    assert len(job.stacktrace[0]) < 17_000


def test_a_deep_recursion_fails_the_job(until):
    def deep(job):
        return deep(job)

    job = run(deep, until, attempts=1)
    assert job.failed_reason.startswith("RecursionError: maximum recursion depth exceeded")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "NaN and infinity are not JSON"),
        ({"a": {1j}}, "a complex is not JSON"),
        (object(), "an object is not JSON"),
        (b"x", "a bytes is not JSON; use base64"),
        ({1: 2}, "the key 1 is int"),
        ("\ud800", "lone surrogate"),
        ("x" * 10_000_001, "more than the 10,000,000 allowed"),
        ((i for i in range(3)), "a generator is not JSON"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_json_fails_the_job_once(until, value, says):
    job = run(lambda job: value, until, attempts=3)
    assert job.attempts_made == 1
    assert says in job.failed_reason
    assert job.failed_reason.startswith("UnrecoverableError: the returned value")


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, "é😀\0", 2**60, [1, {"a": None}]], ids=repr)
def test_any_json_value_comes_back(until, value):
    job = run(lambda job: value, until)
    assert job.returnvalue == value
    assert job.failed_reason is None


def test_what_a_job_prints_and_changes_reaches_the_server(until):
    def work(job):
        for row in range(5):
            job.log(f"row {row}")
        job.update_progress({"at": 50})
        job.update_data({"new": True})
        if job.attempts_made == 0:
            raise ValueError("once more")
        return job.data

    queue = fn.Queue("q")
    job = queue.add("work", {"new": False}, {"attempts": 2, "keepLogs": 3})
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "completed")
    job = queue.get_job(job.id)
    assert job.get_logs() == ["row 2", "row 3", "row 4"]
    assert (job.progress, job.data, job.returnvalue) == ({"at": 50}, {"new": True}, {"new": True})


@pytest.mark.parametrize("field", ["update_progress", "update_data"])
def test_what_is_not_json_is_refused_where_it_is_said(until, field):
    job = run(lambda job: getattr(job, field)(1j), until, attempts=1)
    assert job.failed_reason.startswith(f"FlowError: {field.removeprefix('update_')}: a complex is not JSON")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", b"{broken"),
        ("data", b"\xff\xfe"),
        ("opts", b"{broken"),
        ("opts", b"[]"),
        ("opts", b'{"attempts":"x"}'),
    ],
)
def test_a_job_that_another_program_wrote_badly_does_not_stop_the_worker(redis, until, field, value):
    queue = fn.Queue("q")
    queue.pause()
    job = queue.add("bad")
    redis.hset(f"bull:q:{job.id}", field, value)
    good = queue.add("good")
    queue.resume()
    with fn.Worker("q", lambda job: job.data):
        until(lambda: good.get_state() == "completed")
        until(lambda: job.get_state() == ("failed" if field == "data" else "completed"))


DEEP = b"[" * 10_000 + b"]" * 10_000


@pytest.mark.parametrize("field", ["opts", "bind", "stacktrace", "parent"])
@pytest.mark.parametrize(
    "value",
    [DEEP, b'{"rows":' + DEEP + b"}", b"5", b'{"rows":5}'],
    ids=["deep", "deep rows", "number", "no rows"],
)
def test_a_field_that_cannot_be_read_spoils_only_its_own_job(redis, until, field, value):
    queue = fn.Queue("q")
    queue.pause()
    jobs = queue.add_bulk([{"name": "j"}] * 4)
    bad = jobs.pop(1)
    redis.hset(f"bull:q:{bad.id}", field, value)
    queue.resume()

    def work(job):
        if job.id == bad.id:
            raise ValueError("its own error")

    with fn.Worker("q", work, concurrency=2):
        until(lambda: all(job.get_state() == "completed" for job in jobs))
        until(lambda: bad.get_state() in ("completed", "failed", "delayed"))
        later = queue.add_bulk([{"name": "later"}] * 4)  # every slot lives
        until(lambda: all(job.get_state() == "completed" for job in later))
    assert redis.llen("bull:q:active") == 0


def test_a_job_whose_options_cannot_be_read_fails_and_says_so(redis, until):
    queue = fn.Queue("q")
    job = queue.add("bad")
    redis.hset(f"bull:q:{job.id}", "opts", DEEP)
    with fn.Worker("q", lambda job: None):
        until(lambda: job.get_state() == "failed")
    reason = redis.hget(f"bull:q:{job.id}", "failedReason").decode()
    assert reason.startswith("the job cannot be run as it is stored: RecursionError: ")
    assert reason.endswith("; remove it and add it again")


def test_a_job_whose_hash_is_gone_is_never_run_with_made_up_data(redis, until):
    queue = fn.Queue("q")
    job = queue.add("gone")
    redis.delete(f"bull:q:{job.id}")
    ran = []
    good = queue.add("good")
    with fn.Worker("q", lambda job: ran.append(job.id)):
        until(lambda: good.get_state() == "completed")
    assert ran == [good.id]
    assert queue.get_job(job.id).failed_reason == "job data missing: the hash was evicted or deleted"
