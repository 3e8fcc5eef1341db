"""Shows what a wait does with a flow that does not move: it raises what cannot mend, and says once what may."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.api import waiting as waiting_module


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(waiting_module, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(waiting_module, "RECHECK_SECONDS", 0.05)


def row(name, **opts):
    return {"name": name, "queueName": "rows", "opts": {"jobId": name, **opts}}


def remove_by_hand(stage, id):
    stage.redis.delete(f"bull:rows:{id}")
    stage.redis.lrem("bull:rows:wait", 0, id)


@pytest.mark.parametrize("ask", [fn.Flow.wait, fn.Flow.result])
def test_a_job_that_is_gone_is_an_error_not_a_wait(stage, ask):
    flow = stage.add(row("gone"))
    stage.serve("rows", "totals")
    remove_by_hand(stage, "gone")
    with pytest.raises(fn.FlowStuck) as told:
        ask(flow, timeout=60)
    assert str(told.value) == (
        "flow 'total' cannot end: total > gone: it was removed, and 'total' still waits for it; "
        "add the flow again: nothing brings the job back"
    )


def test_it_waits_as_long_as_something_runs(stage, until):
    import threading

    flow = stage.add(row("gone"), row("runs"))
    runs, may_end = threading.Event(), threading.Event()

    def work(job):
        runs.set()
        may_end.wait(30)

    remove_by_hand(stage, "gone")
    with fn.Worker(["rows", "totals"], work):
        assert runs.wait(20)
        with pytest.raises(TimeoutError):
            flow.wait(timeout=0.5)
        may_end.set()
        with pytest.raises(fn.FlowStuck, match="it was removed"):
            flow.wait(timeout=60)


def test_what_cannot_mend_is_named_first_whatever_else_is_wrong(stage):
    flow = stage.add(row("gone"), row("kept"))
    fn.Queue("rows").pause()
    remove_by_hand(stage, "gone")
    with pytest.raises(fn.FlowStuck, match=r"total > gone: it was removed.*more reasons"):
        flow.wait(timeout=60)


def test_what_is_over_at_the_second_look_was_no_reason(stage, monkeypatch, capsys):
    flow = stage.add(row("back"))
    line = stage.redis.dump("bull:rows:wait")
    stage.redis.delete("bull:rows:wait")

    def restored(seconds):
        if seconds == 0.05:
            stage.redis.restore("bull:rows:wait", 0, line, replace=True)
        sleep(min(seconds, 0.01))

    sleep = waiting_module.time.sleep
    monkeypatch.setattr(
        waiting_module,
        "time",
        type("Time", (), {"sleep": restored, "monotonic": waiting_module.time.monotonic}),
    )
    with pytest.raises(TimeoutError):
        flow.wait(timeout=0.5)
    assert "flow 'total' waits: " in capsys.readouterr().out


def test_what_may_mend_is_said_once_and_then_the_flow_ends(stage, capsys, until):
    import threading

    flow = stage.add(row("r"))
    waiting = threading.Thread(target=flow.wait, daemon=True)
    waiting.start()
    said = []
    until(lambda: said.append(capsys.readouterr().out) or "".join(said))
    with fn.Worker(["rows", "totals"], lambda job: 1):
        waiting.join(30)
    assert not waiting.is_alive()
    text = "".join(said) + capsys.readouterr().out
    assert text.count("waits: ") == 1
    assert "total > r: no worker serves queue 'rows'" in text


def test_a_half_stored_flow_may_still_be_stored_and_is_waited_for(stage):
    flow = stage.add(row("r"))
    stage.serve("rows", "totals")
    stage.redis.hdel(f"bull:flownb:flow:{flow._stored.id}", "stored")
    with pytest.raises(TimeoutError, match="half stored"):
        flow.wait(timeout=0.5)
