"""Shows the one method that decides on another attempt: BullMQ's policy, and one of a worker's own."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.errors import JobTimeout
from flownb.options import JobOptions
from flownb.worker.retry_policy import BackoffRetry, FailedRun, NoAttempt
from flownb.worker.work import Work


def decide(policy, error, *, attempts_made=1, **opts):
    options = JobOptions.read(opts, "job")
    return policy.next_attempt(FailedRun(None, None, options, attempts_made, error))


@pytest.mark.parametrize(("made", "answer"), [(1, 100), (2, 200), (3, NoAttempt.USED_UP)])
def test_the_backoff_says_when_until_the_attempts_are_used_up(made, answer):
    backoff = {"type": "exponential", "delay": 100}
    assert decide(BackoffRetry(), KeyError(), attempts_made=made, attempts=3, backoff=backoff) == answer


@pytest.mark.parametrize("made", [1, 3])
def test_an_unrecoverable_error_is_pointless_whatever_is_left(made):
    error = fn.UnrecoverableError("no")
    assert decide(BackoffRetry(), error, attempts_made=made, attempts=3) is NoAttempt.POINTLESS


@pytest.mark.parametrize(
    ("error", "answer"), [(KeyError(), 0), (ValueError(), NoAttempt.POINTLESS), (JobTimeout(), 0)]
)
def test_with_retry_on_only_those_errors_and_flownbs_own_are_worth_another(error, answer):
    assert decide(BackoffRetry(retry_on=(KeyError,)), error, attempts=2) == answer


def test_a_policy_of_its_own_decides_with_all_that_is_known_of_the_run():
    seen = []

    class Twice:
        """Runs a job twice, whatever its options say."""

        def next_attempt(self, run):
            seen.append((run.job.name, run.options.attempts, run.attempts_made, str(run.error)))
            return 1 if run.attempts_made < 2 else NoAttempt.USED_UP

    def fail(job):
        raise ValueError("mine")

    worker = fn.Worker("q", fail)
    worker._work = Work(fail, Twice())
    with worker:
        flow = fn.add({"name": "j", "queueName": "q"})
        with pytest.raises(fn.FlowFailed, match="mine"):
            flow.result(timeout=30)
    assert seen == [("j", 0, 1, "mine"), ("j", 0, 2, "mine")]
    assert flow.job.attempts_made == 2


def test_a_policy_that_raises_fails_its_job_with_both_reasons():
    class Broken:
        def next_attempt(self, run):
            raise KeyError("policy")

    def fail(job):
        raise ValueError("mine")

    worker = fn.Worker("q", fail)
    worker._work = Work(fail, Broken())
    with worker:
        flow = fn.add({"name": "j", "queueName": "q"}).wait(timeout=30)
    assert flow.job.failed_reason == "ValueError: mine (and its retry policy: KeyError: 'policy')"
