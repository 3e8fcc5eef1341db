"""Shows that damaged records, a broken server, the end of a flow and large flows are explained; and what `wait` says."""

from __future__ import annotations

import json

import pytest

import flownb as fn
from flownb.api import waiting as waiting_module
from flownb.diagnosis.reasons import in_words
from flownb.wire.store import Store
from flownb.wire.store.jobs import Jobs
from flownb.wire.store.queue_facts import QueueFactsReader
from tests.support.stuck_flows import Stage, row, says

# ---- broken books -------------------------------------------------------------------------------------------


def as_node_wrote_it(stage, taken):
    """Take the policy away that flownb writes where the caller named none."""
    link = json.loads(stage.redis.hget(taken.record.key, "parent"))
    stage.redis.hset(taken.record.key, "parent", json.dumps({k: v for k, v in link.items() if k != "fpof"}))


def test_a_child_that_failed_without_a_policy(stage):
    flow = stage.add(row(), row("other"))
    stage.serve("rows", "totals")
    taken, other = stage.take("rows", want=2)
    as_node_wrote_it(stage, taken)
    stage.fail(taken, "ValueError: \x1b[31mno\nreally")
    stage.finish(other, "completed", value="1")
    assert flow.state == "waiting-children"
    assert stage.only(flow) == (
        "total > row",
        r"it failed (ValueError: \x1b[31mno really) without a policy, so 'total' waits for ever",
        "retry the job, or add the flow again with failParentOnFailure on it",
    )


def test_a_child_whose_end_its_parent_was_not_told(stage):
    shared = fn.Node("shared", "rows")
    flow = stage.add(fn.Node("a", "a", children=[shared]), fn.Node("b", "b", children=[shared]))
    stage.serve("rows", "totals", "a", "b")
    (taken,) = stage.take("rows")
    stage.redis.hdel(taken.record.key, "sh")  # as if a worker ran it that does not know further parents
    stage.finish(taken, "completed", value="1")
    untold = stage.explain(flow)[0]
    assert says("total > [ab] > shared", untold[0])
    assert says(r"it has ended \(completed\), and '[ab]' was not told of it", untold[1])
    assert untold[2] == "doctor(fix=True), or flownb doctor --fix, tells it"


def test_a_child_that_ends_while_it_is_explained_is_no_child_whose_parent_was_not_told(stage, monkeypatch):
    flow = stage.add(row("quick"), row("slow"))
    stage.serve("rows", "totals")
    quick, _ = stage.take("rows", want=2)
    read = QueueFactsReader.read_pending

    def end_after(*asked):
        found = read(*asked)
        if stage.redis.exists(f"{quick.record.key}:lock"):
            stage.finish(quick, "completed", value="1")
        return found

    monkeypatch.setattr(QueueFactsReader, "read_pending", end_after)
    found = flow.explain()
    assert not stage.redis.exists(f"{quick.record.key}:lock")
    assert not found["why"].str.contains("ended").any(), found


@pytest.mark.parametrize("then", ["ends", "is to run again", "runs again"])
def test_a_job_that_moves_while_it_is_explained_has_lost_no_worker(stage, monkeypatch, then):
    """Its state is read first, then its lease: in between it loses that by its end, or by a move."""
    flow = stage.add(row("quick"), row("slow"))
    stage.serve("rows", "totals")
    quick, _ = stage.take("rows", want=2)
    read = QueueFactsReader.read_waits

    def move_before(jobs):
        is_held = stage.redis.exists(f"{quick.record.key}:lock")
        if quick.record.key in jobs and is_held:
            again = {"reason": "OSError: busy", "stacktrace": "[]", "delay": 0, "lifo": True}
            kind, outcome = ("completed", {"value": "1"}) if then == "ends" else ("retry", again)
            stage.finish(quick, kind, **outcome)
        found = read(stage.store.queue_facts, jobs)
        if then == "runs again" and is_held:
            stage.take("rows")
        return found

    monkeypatch.setattr(QueueFactsReader, "read_waits", lambda _, jobs: move_before(jobs))
    found = flow.explain()
    assert not found["why"].str.contains("died").any(), found
    assert found["why"].str.contains("running for").any(), found


def test_a_child_that_was_removed_by_hand(stage):
    flow = stage.add(row("kept", opts={"jobId": "kept"}), row("gone", opts={"jobId": "gone"}))
    stage.serve("rows", "totals")
    stage.redis.delete("bull:rows:gone")
    stage.redis.lrem("bull:rows:wait", 0, "gone")
    assert stage.explain(flow)[0] == (
        "total > gone",
        "it was removed, and 'total' still waits for it",
        "add the flow again: nothing brings the job back",
    )


@pytest.mark.parametrize("gutted", [True, False])
def test_a_child_whose_data_are_missing(stage, gutted):
    flow = stage.add(row(opts={"jobId": "ghost"}))
    stage.serve("rows", "totals")
    if gutted:
        stage.redis.hdel("bull:rows:ghost", "data")
    else:
        stage.redis.delete("bull:rows:ghost")
    fix = "set the server's maxmemory-policy to noeviction, and add the flow again"
    missing = "its data are missing (evicted, or deleted by hand)"
    job = "total > row" if gutted else "total > ghost"
    assert stage.only(flow) == (job, f"{missing}; it will be failed for that, and 'total' is not told", fix)
    assert not stage.take("rows")  # a worker finds it so
    assert stage.only(flow) == (
        "total > ghost",
        f"{missing}; it was failed for that, and 'total' is not told",
        fix,
    )


def test_a_job_that_is_in_no_line(stage):
    flow = stage.add(row("lost", opts={"jobId": "lost"}), row("kept"))
    stage.serve("rows", "totals")
    stage.redis.lrem("bull:rows:wait", 0, "lost")
    assert stage.explain(flow)[0] == (
        "total > lost",
        "it is in no line of queue 'rows': its id was removed by hand",
        "mend it with doctor('rows', fix=True)",
    )
    fn.doctor("rows", fix=True)
    assert not any("in no line" in why for _, why, _ in stage.explain(flow))


def test_a_foreign_child_with_broken_fields_is_explained_too(stage):
    flow = stage.add(row(opts={"jobId": "odd"}))
    stage.serve("rows", "totals")
    (taken,) = stage.take("rows")
    as_node_wrote_it(stage, taken)
    stage.fail(taken, "no")
    stage.redis.hset("bull:rows:odd", mapping={"parent": "{broken", "opts": "[]", "name": "a\x1b[2J\u202eb"})
    job, why, _ = stage.only(flow)
    assert job == r"total > a\x1b[2J\u202eb"
    assert why == "it failed (no) without a policy, so 'total' waits for ever"


def test_a_root_that_was_removed(stage):
    flow = stage.add(row())
    stage.redis.delete(f"bull:totals:{flow._stored.id}")
    assert stage.only(flow)[:2] == ("total", "it was removed, and the flow still waits for it")
    stage.redis.delete(f"bull:flownb:flow:{flow._stored.id}")
    with pytest.raises(fn.JobMissing, match="flow 'total' is not on this server any more"):
        flow.explain()


def test_a_parent_without_a_child_that_was_not_released(stage):
    flow = stage.add(row())
    stage.serve("rows", "totals")
    stage.redis.delete(f"bull:totals:{flow._stored.id}:dependencies")
    assert stage.only(flow) == (
        "total",
        "it waits for children, and has none that has not ended: its books were changed by hand",
        "mend it with doctor('totals', fix=True)",
    )
    fn.doctor("totals", fix=True)
    assert not any("by hand" in why for _, why, _ in stage.explain(flow))


class Died(Exception):
    """The producer's end."""


def half_stored(stage, monkeypatch, **root):
    calls = []
    add_jobs = Jobs.add

    def die_at_the_third(self, *args, **more):
        calls.append(1)
        if len(calls) == 3:
            raise Died
        return add_jobs(self, *args, **more)

    rows = [row(f"row-{i}") for i in range(1500)]
    with monkeypatch.context() as patched:
        patched.setattr(Jobs, "add", die_at_the_third)
        with pytest.raises(Died):
            stage.add(*rows, **root)
    (flow,) = stage.redis.zrange("bull:flownb:flows", 0, -1)
    return fn.Flow(flow.decode())


def test_a_flow_whose_producer_died_half_way(stage, monkeypatch):
    flow = half_stored(stage, monkeypatch)
    stage.serve("rows", "totals")
    assert stage.explain(flow)[0] == (
        "total",
        "half stored, 1,000 of 1,501 jobs: the program that adds it died, or is still at it",
        "if it died, run the same add again: it makes a whole one",
    )
    for taken in stage.take("rows", want=1000):
        stage.finish(taken, "completed", value="1")
    assert stage.only(flow)[1].startswith("half stored")


def test_a_half_stored_flow_with_an_id_of_its_own(stage, monkeypatch):
    flow = half_stored(stage, monkeypatch, opts={"jobId": "mine"})
    assert stage.explain(flow)[0][2] == "if it died, run the same add again: it stores the rest"
    again = stage.add(*(row(f"row-{i}") for i in range(1500)), opts={"jobId": "mine"})
    assert again.progress().total == flow.progress().total == 1501
    assert not any("half stored" in why for _, why, _ in stage.explain(flow))


# ---- the server ---------------------------------------------------------------------------------------------


def test_a_server_that_is_out_of_memory(own_server):
    with fn.Connection(own_server.url) as connection:
        stage = Stage(connection)
        flow = stage.add(queue="q")
        stage.serve("q")
        stage.redis.config_set("maxmemory", "1000000")
        stage.redis.config_set("maxmemory-policy", "noeviction")
        assert stage.explain(flow)[0] == (
            "total",
            "the server is out of memory: it holds all of its 1,000,000 bytes (maxmemory)",
            "raise maxmemory, or remove what is not needed",
        )


def test_a_server_that_became_a_read_only_replica(own_server):
    with fn.Connection(own_server.url) as connection:
        stage = Stage(connection)
        flow = stage.add(queue="q")
        stage.serve("q")
        stage.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert stage.explain(flow)[0] == (
            "total",
            "the server is a read-only replica now",
            "connect to the primary",
        )


def test_a_server_whose_disk_is_full(stage):
    class Full:
        def info(self, section):
            return {"persistence": {"aof_last_write_status": "err"}}.get(section, {})

    found = Store(Full(), "bull").server.read_write_problem()
    assert found == (
        "the server could not write to its disk and may refuse writes",
        "see whether the disk is full",
    )
    assert stage.store.server.read_write_problem() is None


def test_a_server_that_is_away_is_an_error(own_server):
    with fn.Connection(own_server.url) as connection:
        flow = Stage(connection).add(queue="q")
        own_server.kill()
        with pytest.raises(fn.ServerUnreachable):
            flow.explain()
        own_server.start()


def test_a_read_only_connection_explains_too(stage, server_folder):
    flow = stage.add(queue="q")
    with fn.Connection(path=server_folder, read_only=True) as reading:
        assert stage.only(fn.Flow(flow._stored.id, connection=reading))[1] == "no worker serves queue 'q'"


# ---- flows that have ended ----------------------------------------------------------------------------------


def test_a_failed_flow_has_one_reason_its_root_cause(stage):
    flow = stage.add({"name": "middle", "queueName": "middles", "children": [row("bad"), row("good")]})
    stage.fail(stage.take("rows", want=2)[0], "KeyError: 'x'")
    assert flow.state == "failed"
    assert stage.only(flow) == (
        "total > middle > bad",
        "it failed: KeyError: 'x'",
        "mend its function or its data, then run what failed with retry()",
    )


@pytest.mark.parametrize(
    ("why", "fix"),
    [
        ("timeout", "mend what hangs, or give it a longer timeout, then add the flow again"),
        (
            "stalled",
            "its workers died while it ran: see whether it takes too much memory, then run what failed with retry()",
        ),
    ],
)
def test_the_fix_fits_the_cause(stage, why, fix):
    flow = stage.add(row())
    stage.fail(stage.take("rows")[0], why=why)
    assert stage.only(flow)[2] == fix


def test_a_completed_flow_has_no_reason(stage):
    flow = stage.add(queue="q")
    stage.finish(stage.take("q")[0], "completed", value="1")
    assert stage.explain(flow) == []


# ---- large and odd flows ------------------------------------------------------------------------------------


def test_of_a_large_flow_the_first_five_hundred_jobs_are_looked_at(stage):
    flow = stage.add(*(row(f"row-{i}") for i in range(1200)))
    stage.serve("totals")
    for taken in stage.take("rows", want=100):
        stage.finish(taken, "completed", value="1")
    unserved, rest = stage.explain(flow)
    assert unserved[0] == "total > row-100 and 499 more"
    assert rest == (
        "total",
        "waits for 1,100 children, the oldest: row-100, row-101, row-102; 600 more unfinished jobs were not looked at",
        "mend what stands above, then ask again",
    )


def test_a_cause_beside_a_wide_branch_is_found(stage):
    wide = {"name": "wide", "queueName": "w", "children": [row(f"row-{i}") for i in range(990)]}
    deep = {"name": "deep", "queueName": "d", "children": [{"name": "held", "queueName": "held"}]}
    flow = stage.add(wide, deep)
    stage.serve("rows", "totals", "w", "d", "held")
    fn.Queue("held").pause()
    assert stage.explain(flow)[0][:2] == ("total > deep > held", "queue 'held' is paused")


def test_the_reads_are_bounded_whatever_the_size(stage):
    def commands():
        return sum(command["calls"] for command in stage.redis.info("commandstats").values())

    calls = []
    for size in (600, 3000):
        flow = stage.add(*(row(f"row-{i}") for i in range(size)))
        before = commands()
        flow.explain()
        calls.append(commands() - before)
    assert calls[1] <= calls[0] + 20


def test_a_batch_needs_no_worker_for_its_root(stage):
    batch = fn.fan_out([1, 2], "nobody")
    job, why, _ = stage.only(batch)
    assert says(r"nobody.* > .* and 1 more", job)
    assert why == "no worker serves queue 'nobody'"


# ---- waiting ------------------------------------------------------------------------------------------------


def test_a_wait_that_runs_out_says_the_first_reason(stage):
    flow = stage.add(row())
    fn.Queue("rows").pause()
    with pytest.raises(TimeoutError) as told:
        flow.wait(timeout=0.01)
    assert str(told.value) == (
        "Flow('total': 2 jobs) has not ended after 0.01 s; total > row: queue 'rows' is paused; "
        "resume it with Queue('rows').resume() (2 more reasons: explain() tells them)"
    )


def test_a_wait_that_lasts_tells_the_same_once(stage, monkeypatch, capsys, until):
    monkeypatch.setattr(waiting_module, "SILENCE_SECONDS", 0.0)
    flow = stage.add(queue="q")
    with pytest.raises(TimeoutError) as told:
        flow.wait(timeout=0.3)
    text = in_words(waiting_module.reasons(flow._stored))
    assert str(told.value).endswith(text)
    assert capsys.readouterr().out == f"flow 'total' waits: {text}\n"
