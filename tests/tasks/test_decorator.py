"""Shows the forms of `@task`: what a task is beside a plain function, and what cannot be one."""

from __future__ import annotations

import functools

import pytest

import flownb as fn
from flownb.tasks import registry


def test_a_task_is_still_a_plain_function():
    @fn.task
    def double(x, times=2):
        """Multiply."""
        return times * x

    assert (double(21), double(2, times=5), double.__name__, double.__doc__) == (
        42,
        10,
        "double",
        "Multiply.",
    )
    assert repr(double) == "Task('double')"
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        double()


def test_the_bare_form_and_the_one_with_options():
    @fn.task
    def plain(x): ...

    @fn.task()
    def empty(x): ...

    @fn.task(
        queue="payments",
        attempts=3,
        backoff="exponential 1s",
        timeout=30,
        delay="2s",
        version="7",
        priority=5,
    )
    def charge(x): ...

    assert (plain.queue, empty.queue, charge.queue) == ("plain", "empty", "payments")
    assert repr(charge) == "Task('charge' on 'payments')"
    flow = fn.add(charge.node(1))
    assert flow.job.opts == {
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 1000},
        "timeout": 30_000,  # bare numbers are seconds in Python, milliseconds on the wire
        "delay": 2000,
        "priority": 5,
    }
    assert (flow.job.name, flow.job.queue_name, flow.job.data) == ("charge", "payments", {"x": 1})


def test_a_nodes_options_stand_above_the_tasks():
    @fn.task(attempts=3, priority=2)
    def work(x): ...

    flow = fn.add(work.node(1, opts={"attempts": 7, "jobId": "mine"}))
    assert (flow.job.id, flow.job.opts) == ("mine", {"attempts": 7, "priority": 2})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attemps": 3}, "task work.attemps: no such option; did you mean 'attempts'"),
        ({"attempts": -1}, "a whole number from 0 to 1000"),
        ({"timeout": 0}, "a timeout is longer than 0"),
        ({"timeout": "soon"}, "no duration"),
        ({"job_id": "x"}, "a task has no jobId; give it to one node"),
        ({"jobId": "x"}, "a task has no jobId"),
        ({"queue": "a:b"}, "must not hold a colon"),
        ({"queue": ""}, "must have 1 to 256 characters"),
        ({"queue": 5}, "must be text, not int"),
        ({"version": 1.5}, "task work.version: text or a whole number, not 1.5"),
        ({"version": None}, "task work.version: text or a whole number, not None"),
        ({"retry_on": "TimeoutError"}, "task work.retry_on: classes of exceptions"),
        ({"retry_on": TimeoutError("late")}, "task work.retry_on: classes of exceptions"),
        ({"retry_on": (TimeoutError, int)}, "task work.retry_on: classes of exceptions"),
        ({"limiter": 5}, "task work.limiter: write '5/s'"),
        ({"limiter": "5"}, "task work.limiter: '5' is no rate; write '5/s'"),
        ({"limiter": "5/fortnight"}, "task work.limiter: '5/fortnight' is no rate"),
        ({"limiter": "0/s"}, "task work.limiter: a whole number from 1"),
        (
            {"backoff": "exponential"},
            "task work.backoff: 'exponential' is no backoff; write 'exponential 1s'",
        ),
        ({"priority": "high"}, "task work.priority: a whole number from 0"),
        ({"concurrency": 0}, "task work.concurrency: a whole number from 1"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused_where_the_task_is_made(options, says):
    with pytest.raises(fn.OptionError) as refusal:

        @fn.task(**options)
        def work(x): ...

    assert says in str(refusal.value)
    assert registry.queues() == []


def test_a_version_may_be_a_number_and_an_error_stand_alone():
    @fn.task(version=2, retry_on=TimeoutError)
    def work(x): ...

    assert (work.version, work.retry_on) == ("2", (TimeoutError,))


class Thing:
    pass


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Thing, "a task is a named function, not type"),
        (lambda *args: 0, "name each parameter"),
        (eval("lambda a, /: 0"), "name each parameter"),
        (7, "a task is a named function, not int"),
    ],
    ids=["class", "varargs", "positional only", "number"],
)
def test_what_cannot_be_a_task(made, says):
    with pytest.raises((TypeError, fn.OptionError)) as refusal:
        fn.task(made)
    assert says in str(refusal.value)


def test_a_function_that_yields_is_a_task_and_stays_plain():
    @fn.task
    def digits(n):
        yield from str(n)

    @fn.task
    async def later(n):
        yield n

    assert list(digits(42)) == ["4", "2"]
    assert (digits.yields, digits.is_async, digits.runs(n=42)) == (True, False, ["4", "2"])
    assert (later.yields, later.is_async) == (True, True)
    with pytest.raises(fn.OptionError, match="a task that yields takes one row at a time"):

        @fn.task(batch_size=2)
        def many(n):
            yield n


def test_a_wrapped_function_and_a_method_are_tasks():
    def decorated(function):
        @functools.wraps(function)
        def inner(**kwargs):
            return function(**kwargs)

        return inner

    class Model:
        def score(self, text):
            return len(text)

    @fn.task
    @decorated
    def wrapped(text):
        return text.upper()

    scored = fn.task(Model().score)
    with fn.workers():
        assert fn.add(wrapped.node("a")).result(timeout=20) == "A"
        assert fn.add(scored.node("four")).result(timeout=20) == 4


def test_the_workers_of_the_kernel_are_replaced_by_those_that_are_started(capsys):
    @fn.task
    def work(x):
        return x

    assert fn.add(work.node(1)).result(timeout=20) == 1
    assert capsys.readouterr().out == "flownb: this kernel serves work with 4 threads\n"
    with fn.workers(concurrency=2) as mine:
        assert fn.add(work.node(2)).result(timeout=20) == 2
        assert repr(mine) == "workers(concurrency=2, running)"
    assert capsys.readouterr().out == ""


def test_a_kernel_says_how_many_rows_of_its_tasks_run_at_a_time(capsys):
    @fn.task
    async def call(x):
        return x

    @fn.task(queue="model", concurrency=16)
    async def ask(x):
        return x

    @fn.task(concurrency=20)
    def wide(x):
        return x

    @fn.task
    def work(x):
        return x

    assert fn.add(work.node(1)).result(timeout=20) == 1
    assert capsys.readouterr().out == (
        "flownb: this kernel serves call with 100 async calls at a time; model with 16 async calls at a time; "
        "wide with 20 threads; work with 4 threads\n"
    )


def test_without_tasks_a_kernel_starts_no_workers(redis, capsys):
    fn.add({"name": "j", "queueName": "q"})
    assert capsys.readouterr().out == ""
    assert not redis.exists("bull:flownb:served")


def test_a_task_of_a_later_cell_is_served_by_the_workers_that_run():
    @fn.task
    def first(x):
        return x

    assert fn.add(first.node(1)).result(timeout=20) == 1

    @fn.task
    def second(x):
        return -x

    assert fn.add(second.node(1)).result(timeout=3) == -1


@pytest.mark.parametrize("judge", ["no parameter", "two parameters", "async"])
def test_a_retry_on_that_cannot_be_asked_about_an_error_is_refused(judge):
    async def later(error):
        return True

    judges = {"no parameter": lambda: True, "two parameters": lambda error, job: True, "async": later}
    with pytest.raises(fn.OptionError, match=r"task work.retry_on: a (plain )?function"):

        @fn.task(retry_on=judges[judge])
        def work():
            pass
