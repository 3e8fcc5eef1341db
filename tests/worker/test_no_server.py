"""Shows that a run which ends because its own calls found no server charges no attempt, and that this has an end."""

from __future__ import annotations

import collections

import pandas as pd
import pytest

import flownb as fn


def away(job):
    raise fn.ServerUnreachable("the server does not answer: Connection refused")


def test_a_run_that_found_no_server_is_repeated_and_charges_no_attempt(redis, until):
    ran = collections.Counter()

    def work(job):
        ran[job.name] += 1
        if ran[job.name] <= 3:
            away(job)
        return "there"

    job = fn.Queue("q").add("j")
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "completed")
    found = fn.Queue("q").get_job(job.id)
    assert (found.returnvalue, found.attempts_made, ran["j"]) == ("there", 1, 4)


def test_a_server_that_refuses_everything_for_a_while_is_one_that_is_away(redis, until):
    ran = []

    def work(job):
        ran.append(job.id)
        if len(ran) == 1:
            raise fn.ServerRefused("BUSY Valkey is busy running a script. You can only call SCRIPT KILL.")

    job = fn.Queue("q").add("j")
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).attempts_made == 1


def test_another_server_that_is_away_for_good_fails_the_job_with_that_reason(redis, until):
    job = fn.Queue("q").add("j")
    with fn.Worker("q", away):
        until(lambda: job.get_state() == "failed")
    found = fn.Queue("q").get_job(job.id)
    assert found.failed_reason == "ServerUnreachable: the server does not answer: Connection refused"
    assert found.attempts_made == 1


def test_what_a_server_refuses_for_good_is_a_failed_attempt_at_once(redis, until):
    ran = []

    def work(job):
        ran.append(job.id)
        raise fn.ServerRefused("a key on the server has another type than it should")

    job = fn.Queue("q").add("j")
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "failed")
    assert len(ran) == 1


@pytest.mark.parametrize("rows_per_job", [1, 5])
def test_rows_that_found_no_server_are_run_again_whatever_their_grouping(connection, rows_per_job):
    ran = collections.Counter()

    @fn.task(queue="rows")
    def square(x):
        ran[x] += 1
        if x in (3, 12) and ran[x] == 1:
            away(None)
        return x * x

    with fn.workers(2):
        batch = fn.fan_out(pd.DataFrame({"x": range(20)}), square, name="b", rows_per_job=rows_per_job)
        assert list(batch.results(timeout=30)["square"]) == [x * x for x in range(20)]
    assert batch.failures.empty
    assert set(batch.table()["_attempts"]) == {1}
