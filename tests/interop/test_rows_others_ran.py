"""Rows that share a job, or have steps, and a worker of BullMQ's that takes their job: it returns what is no rows' value."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn

NUMBERS = pd.DataFrame({"x": range(6)}, index=list("abcdef"))


@pytest.fixture
def peer(connection):
    from tests.support.bullmq_peer import Peer

    other = Peer(connection)
    yield other
    other.close()


def complete_next(peer, queue, value):
    """A worker of BullMQ's takes the next job of a queue, whatever its name, and returns a value of its own."""

    async def complete():
        from bullmq import Worker

        worker = Worker(queue, None, peer._options | {"autorun": False})
        job = await worker.getNextJob("other")
        await job.moveToCompleted(value, "other")
        await worker.close()

    peer.do(complete())


def assert_rows_of_others_failed(batch, expected, lost):
    """Those rows alone have failed, wherever one looks; they run again and are right."""
    column = batch.results().columns[-1]
    assert batch.results()[column].dropna().to_dict() == expected.drop(lost).to_dict()
    assert batch.results(failed="drop").index.tolist() == expected.drop(lost).index.tolist()
    with pytest.raises(fn.FlowFailed, match="another program's worker"):
        batch.results(failed="raise")
    assert batch.failures.index.tolist() == lost
    assert batch.failures["error"].unique().tolist() == ["ForeignWorker"]
    assert batch.failures["message"].str.contains("another program's worker took the job").all()
    table = batch.table()
    assert table.index[table["_state"] == "failed"].tolist() == lost
    assert "another program" in batch.to_html()
    assert fn.attach(batch.name).row(lost[0]).error.startswith("ForeignWorker")
    batch.retry()
    assert batch.results(timeout=30)[column].to_dict() == expected.to_dict()
    assert batch.failures.empty
    assert fn.doctor().empty


@pytest.mark.parametrize("value", [{"who": "other"}, "done", None, [1, 2], {"values": [1], "who": "other"}])
def test_rows_whose_shared_job_another_program_has_run_have_failed_and_run_again(peer, value, tmp_path):
    @fn.task(queue="common", batch_size=2)
    def tenfold(x):
        return (10 * x).tolist()

    batch = fn.fan_out(NUMBERS, tenfold, name="tens", files=tmp_path if value is None else None)
    complete_next(peer, "common", value)
    with fn.workers(2):
        batch.wait(timeout=30)
        assert_rows_of_others_failed(batch, 10 * NUMBERS["x"], ["a", "b"])


def test_a_row_whose_step_another_program_has_run_keeps_its_steps_before(peer, until):
    ran = []

    @fn.task
    def first(x):
        ran.append(x)
        return x + 1

    @fn.task(queue="common")
    def second(first):
        return 10 * first

    line = fn.Queue("common")
    line.pause()
    with fn.workers(2):
        batch = fn.fan_out(NUMBERS, [first, second], name="two")
        until(lambda: line.get_job_counts()["waiting"] == len(NUMBERS))
    line.resume()
    complete_next(peer, "common", {"who": "other"})
    with fn.workers(2):
        batch.wait(timeout=30)
        lost = batch.failures.index.tolist()
        assert batch.failures["step"].tolist() == ["second"]
        assert_rows_of_others_failed(batch, 10 * (NUMBERS["x"] + 1), lost)
    assert sorted(ran) == NUMBERS["x"].tolist()


def test_the_same_fan_out_runs_rows_again_that_another_program_has_run(peer):
    @fn.task(queue="common", batch_size=2)
    def tenfold(x):
        return (10 * x).tolist()

    fn.fan_out(NUMBERS, tenfold, name="tens")
    complete_next(peer, "common", {"who": "other"})
    with fn.workers(2):
        fn.attach("tens").wait(timeout=30)
        batch = fn.fan_out(NUMBERS, tenfold, name="tens")
        assert batch.results(timeout=30)["tenfold"].to_dict() == (10 * NUMBERS["x"]).to_dict()
