"""Shows that a job with very many parents tells each of them once, a few a call, whoever dies meanwhile."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.wire.store.limits import JOBS_A_READ
from tests.support import invariants
from tests.support.stuck_flows import Stage

PARENTS = 500
SHARED, LISTED = "bull:load:model", "bull:flownb:shared"


@pytest.fixture
def stage(connection):
    made = Stage(connection)
    yield made
    made.close()


def add(**opts):
    """Add a root above parents that all wait for one job."""
    model = fn.Node("model", "load", opts={"jobId": "model", **opts})
    rows = [fn.Node(f"row-{i}", "rows", children=[model]) for i in range(PARENTS)]
    return fn.add(fn.Node("total", "totals", children=rows), on_failure="finish")


def told(redis):
    """Count the parents that wait for the job no more."""
    return PARENTS - len(redis.keys("bull:rows:*:dependencies"))


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


def test_every_parent_gets_its_value(redis):
    flow = add()

    with fn.Worker(["load", "rows", "totals"], lambda job: len(job.get_children_values()) or 7):
        assert flow.result(timeout=60) == PARENTS

    assert set(flow.jobs("completed")["name"].str.split("-").str[0]) == {"model", "row", "total"}
    assert not redis.exists(LISTED)
    assert not flow._stored.flow_state._count_check.others_ran_jobs
    sound(redis)


def test_every_parent_fails_with_it(redis, until):
    flow = add()

    with fn.Worker("load", lambda job: 1 / 0):
        with pytest.raises(fn.FlowFailed, match=r"total > row-.* > model"):
            flow.result(timeout=60)
        until(lambda: told(redis) == PARENTS)

    assert flow.progress().failed == PARENTS + 2
    sound(redis)


def test_what_one_call_left_is_done_by_whoever_waits(stage, redis):
    flow = add()
    (taken,) = stage.take("load")
    stage.finish(taken, "completed", value="7")  # and this worker dies: it tells nobody more
    assert told(redis) == 1, "its first parent knows"
    progress = flow.progress()
    assert (progress.completed, progress.total) == (1, PARENTS + 2)
    assert not flow._stored.flow_state._count_check.others_ran_jobs, (
        "it is not taken for another program's doing"
    )

    left = stage.store.server.call("notify_parents", ["bull:load"], jobs=[(SHARED, "0")])["rest"]

    assert 1 < told(redis) < PARENTS
    assert [job for job, _ in left] == [SHARED]
    with pytest.raises(TimeoutError):
        flow.wait(timeout=0)
    assert flow.state == "waiting-children"
    assert told(redis) == PARENTS
    assert not redis.exists(LISTED)
    assert redis.llen("bull:rows:wait") == PARENTS
    sound(redis)


def test_it_may_be_retried_before_all_of_them_are_told(stage, redis):
    flow = add()
    (taken,) = stage.take("load")
    stage.fail(taken)
    stage.store.server.call("notify_parents", ["bull:load"], jobs=[(SHARED, "0")])
    assert 1 < told(redis) < PARENTS

    fn.Queue("load").get_job("model").retry()

    assert told(redis) == 0
    assert flow.state == "waiting-children"
    (again,) = stage.take("load")
    stage.finish(again, "completed", value="8")
    assert stage.store.shared.notify_parents([SHARED]) == PARENTS - 1
    assert redis.llen("bull:rows:wait") == PARENTS
    sound(redis)


def test_few_parents_are_told_by_the_call_that_ends_it(stage, redis):
    shared = [fn.Node(f"s{i}", "load") for i in range(3)]
    fn.add(fn.Node("top", "totals", children=[fn.Node(f"p{i}", "rows", children=shared) for i in range(50)]))
    for taken in stage.take("load", 3):
        stage.finish(taken, "completed", value="7")
    assert redis.llen("bull:rows:wait") == 50
    assert not redis.exists(LISTED)


def test_no_call_tells_very_many(stage, redis):
    add()
    (taken,) = stage.take("load")
    redis.config_resetstat()
    stage.finish(taken, "completed", value="7")
    assert stage.store.shared.notify_parents([SHARED]) == PARENTS - 1
    calls = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert PARENTS / calls < 2 * JOBS_A_READ
