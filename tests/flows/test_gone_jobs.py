"""Shows what each verb of a job says when the job was removed meanwhile: one exception, one form of words."""

from __future__ import annotations

import inspect

import pytest

import flownb as fn

CHANGES = {
    "retry": lambda job: job.retry(),
    "cancel": lambda job: job.cancel(),
    "wait_until_finished": lambda job: job.wait_until_finished(timeout=5),
    "promote": lambda job: job.promote(),
    "change_delay": lambda job: job.change_delay("5s"),
    "change_priority": lambda job: job.change_priority(5),
    "remove_child_dependency": lambda job: job.remove_child_dependency(),
    "update_progress": lambda job: job.update_progress(50),
    "update_data": lambda job: job.update_data({}),
    "log": lambda job: job.log("late"),
}
TAKES_AWAY = ("remove", "remove_unprocessed_children", "clear_logs")
READS = {
    "get_state": "unknown",
    "is_cancelled": True,
    "get_children_values": {},
    "get_ignored_children_failures": {},
    "get_dependencies": {"processed": {}, "unprocessed": [], "failed": [], "ignored": {}},
    "get_dependencies_count": {"processed": 0, "unprocessed": 0, "failed": 0, "ignored": 0},
    "get_logs": [],
}


def of_its_own():
    job = fn.Queue("q").add("mail", opts={"delay": 60_000})
    job.remove()
    return job


def below_another():
    flow = fn.add({"name": "top", "queueName": "tops", "children": [{"name": "leaf", "queueName": "q"}]})
    (job,) = fn.Queue("q").get_jobs("waiting")
    flow.remove()
    return job


@pytest.fixture(params=[of_its_own, below_another], ids=lambda made: made.__name__)
def gone(request, connection):
    return request.param()


def test_every_verb_of_a_job_is_looked_at_here():
    verbs = {name for name, _ in inspect.getmembers(fn.Job, inspect.isfunction) if name[0] != "_"}
    assert verbs - {"add_children"} == {*CHANGES, *TAKES_AWAY, *READS}  # which is for a run, and needs one


@pytest.mark.parametrize("verb", CHANGES)
def test_what_would_change_it_says_that_it_is_gone(gone, redis, verb):
    before = redis.dbsize()
    with pytest.raises(fn.JobMissing) as error:
        CHANGES[verb](gone)
    assert str(error.value) == f"job q:{gone.id} is not on this server: it was removed, or never stored here"
    assert redis.dbsize() == before


@pytest.mark.parametrize("verb", TAKES_AWAY)
def test_what_takes_away_has_nothing_to_do(gone, redis, verb):
    before = redis.dbsize()
    assert getattr(gone, verb)() is None
    assert redis.dbsize() == before


@pytest.mark.parametrize(("verb", "found"), READS.items())
def test_what_reads_finds_nothing(gone, verb, found):
    assert getattr(gone, verb)() == found


def test_so_it_is_for_who_looks_for_it_and_who_adds_below_it(gone, redis):
    before = redis.dbsize()
    for call in (
        lambda: fn.attach(gone),
        lambda: fn.attach(f"q:{gone.id}"),
        lambda: fn.Queue("other").add("mail", parent=gone),
        lambda: fn.Queue("other").add("mail", parent=f"q:{gone.id}"),
    ):
        with pytest.raises(
            fn.JobMissing, match=rf"q:{gone.id} is not on this server: it was removed, or never"
        ):
            call()
    assert redis.dbsize() == before


def test_a_child_whose_parent_is_gone_names_the_parent(redis, connection):
    flow = fn.add({"name": "top", "queueName": "tops", "children": [{"name": "leaf", "queueName": "q"}]})
    (job,) = fn.Queue("q").get_jobs("waiting")
    top = flow.job.id
    redis.delete(f"bull:tops:{top}")
    with pytest.raises(fn.JobMissing, match=f"parent tops:{top} is not on this server"):
        job.remove_child_dependency()
