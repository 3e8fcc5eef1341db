"""A flow's handle is right whoever ran its jobs: flownb's flows on queues that Node serves, and Node's flows."""

from __future__ import annotations

import pytest

import flownb as fn

PEERS = ("node6", "node5", "python")


def leaf(peer, name, do="value", opts=None, **data):
    data = {"do": do, "value": 1, "why": "no such row", **data}
    return {"name": name, "queueName": f"{peer}-items", "data": data, "opts": opts or {}}


def tree(peer, *children):
    return {"name": "top", "queueName": f"{peer}-top", "data": {"do": "gather"}, "children": list(children)}


def middle(peer, *children):
    return {
        "name": "middle",
        "queueName": f"{peer}-middle",
        "data": {"do": "gather"},
        "children": list(children),
    }


@pytest.mark.parametrize("peer", PEERS)
def test_a_flow_that_others_ran_to_its_root_has_ended_here_too(peer, peers, connection):
    flow = fn.add(tree(peer, middle(peer, leaf(peer, "a"), leaf(peer, "b")), leaf(peer, "c")))

    assert flow.result(timeout=30) in (
        {"values": [{"values": [1, 1]}, 1]},
        {"values": [1, {"values": [1, 1]}]},
    )
    assert flow.state == "completed"
    assert repr(flow) == "Flow('top': 5 jobs, 5 completed)"
    assert flow.progress().fraction == 1.0
    assert flow.explain().empty
    record = connection.client().hgetall(f"bull:flownb:flow:{flow._stored.id}")
    assert record[b"ended"] == b"completed"
    assert record[b"finished"] == connection.client().hget(f"bull:{peer}-top:{flow.job.id}", "finishedOn")


@pytest.mark.parametrize("peer", PEERS)
def test_a_flow_that_others_ran_and_nobody_looked_at_goes_as_its_options_say(peer, peers, connection, until):
    tree_that_goes = tree(peer, middle(peer, leaf(peer, "a")), leaf(peer, "b"))
    flow = fn.add({**tree_that_goes, "opts": {"removeOnComplete": True}}, name="mine")
    redis, root = connection.client(), f"bull:{peer}-top:{flow.job.id}"
    until(lambda: redis.hexists(root, "finishedOn"))

    def due_now():
        return redis.zadd("bull:flownb:tidy", {flow._stored.id: 0}, xx=True)

    due_now()
    with fn.Worker("elsewhere", print, stalled_interval=0.1):
        until(lambda: redis.hget(f"bull:flownb:flow:{flow._stored.id}", "ended") == b"completed")
        due_now()  # ten seconds later
        until(lambda: not redis.exists(root))
        until(lambda: not redis.zcard("bull:flownb:tidy"))
    assert not [key for key in redis.scan_iter() if flow._stored.id.encode() in key]


@pytest.mark.parametrize("peer", PEERS)
def test_progress_counts_what_others_did_and_do(peer, peers, connection, until):
    rows = [leaf(peer, f"row-{i}", opts={"ignoreDependencyOnFailure": True}) for i in range(30)]
    rows += [leaf(peer, "bad", do="fail", opts={"ignoreDependencyOnFailure": True})]
    rows += [leaf(peer, "held", do="hold"), leaf(peer, "again", do="fail", opts=_much_later())]
    flow = fn.add(tree(peer, *rows))

    wanted = {
        f"{peer}-top": {"waiting-children": 1},
        f"{peer}-items": {"completed": 30, "failed": 1, "active": 1, "delayed": 1},
    }
    until(lambda: flow.progress().counts.by_stage == wanted)
    assert "30 completed" in str(flow)
    assert flow.jobs()["state"].value_counts()["completed"] == 30
    connection.client().set("test:open", 1)


def _much_later():
    return {"attempts": 2, "backoff": {"type": "fixed", "delay": 3_600_000}}


@pytest.mark.parametrize("peer", PEERS)
def test_what_others_only_hold_is_counted_as_active(peer, peers, connection, until):
    flow = fn.add(tree(peer, leaf(peer, "held", do="hold")))

    until(lambda: flow.progress().active == 1)
    connection.client().set("test:open", 1)
    assert flow.result(timeout=30) == {"values": [1]}


@pytest.mark.parametrize("peer", PEERS)
def test_a_child_that_others_failed_fails_the_flow_at_once_without_a_worker_above(peer, peers, connection):
    top = {"name": "top", "queueName": "nobody-top", "children": []}
    top["children"] = [{"name": "mid", "queueName": "nobody-mid", "children": [leaf(peer, "bad", do="fail")]}]
    flow = fn.add(top)

    with pytest.raises(fn.FlowFailed, match=r"top > mid > bad: .*no such row"):
        flow.result(timeout=30)
    assert flow.state == "failed"
    assert flow.progress().failed == 3
    assert connection.client().llen("bull:nobody-mid:wait") == 0


def test_a_reader_sees_a_failure_on_its_way_and_who_waits_brings_it_to_the_root(peers, connection, until):
    flow = fn.add({"name": "top", "queueName": "nobody-top", "children": [leaf("node6", "bad", do="fail")]})

    until(lambda: flow.state == "failing")
    assert flow.wait(timeout=30).state == "failed"


@pytest.mark.parametrize("peer", PEERS)
def test_a_flow_that_others_failed_runs_again(peer, peers, connection, until):
    flow = fn.add(tree(peer, leaf(peer, "bad", do="fail"), leaf(peer, "good")))
    assert flow.wait(timeout=30).state == "failed"
    bad = next(job for job in fn.Queue(f"{peer}-items").get_jobs("failed") if job.name == "bad")
    bad.update_data({"do": "value", "value": 7})

    assert sorted(flow.retry().result(timeout=30)["values"]) == [1, 7]
    assert repr(flow) == "Flow('top': 3 jobs, 3 completed)"
    flow.remove()
    assert not [
        key for key in connection.client().scan_iter() if b":flownb:" in key and b":served" not in key
    ]


@pytest.mark.parametrize("peer", PEERS)
def test_a_failed_flow_whose_root_another_program_retries_ends_as_the_root_does_then(
    peer, peers, connection, until
):
    flow = fn.add({"name": "top", "queueName": f"{peer}-top", "data": {"do": "fail", "why": "no money"}})
    assert flow.wait(timeout=30).state == "failed"
    flow.job.update_data({"do": "hold", "value": 7})
    view = flow.watch()

    peers[peer].ask("retry", queue=f"{peer}-top", id=flow.job.id)

    until(lambda: flow.state == "active")
    assert fn.flows().loc[0, "state"] == "active"
    view.poll()
    assert view.head["state"] == "active"
    with pytest.raises(TimeoutError):
        flow.wait(timeout=0.1)
    connection.client().set("test:open", 1)
    assert flow.result(timeout=30) == 7
    view.poll()
    assert (flow.state, view.head["state"], fn.flows().loc[0, "state"]) == ("completed",) * 3
    assert flow.explain().empty
    assert repr(flow) == "Flow('top': 1 job, 1 completed)"


@pytest.mark.parametrize("peer", PEERS)
def test_a_child_and_then_the_root_that_another_program_retries_complete_the_flow(
    peer, peers, connection, until
):
    flow = fn.add(tree(peer, leaf(peer, "bad", do="fail"), leaf(peer, "good")))
    assert flow.wait(timeout=30).state == "failed"
    bad = next(job for job in fn.Queue(f"{peer}-items").get_jobs("failed") if job.name == "bad")
    bad.update_data({"do": "value", "value": 7})

    peers[peer].ask("retry", queue=f"{peer}-items", id=bad.id)
    until(lambda: bad.get_state() == "completed")
    assert flow.state == "failed", "BullMQ leaves a parent that has failed where it is"
    peers[peer].ask("retry", queue=f"{peer}-top", id=flow.job.id)

    until(lambda: flow.state == "completed")
    assert sorted(flow.result(timeout=30)["values"]) == [1, 7]
    assert fn.flows().loc[0, ["state", "why"]].tolist() == ["completed", ""]


@pytest.mark.parametrize("peer", PEERS)
def test_a_job_shared_by_two_parents_that_others_ran_is_told_to_both(peer, peers, connection):
    paid = fn.Node("paid", f"{peer}-items", {"do": "value", "value": 3})
    parents = [
        fn.Node(name, f"{peer}-middle", {"do": "gather"}, children=[paid]) for name in ("ship", "bill")
    ]
    flow = fn.add(fn.Node("top", f"{peer}-top", {"do": "gather"}, children=parents))

    assert flow.result(timeout=30) == {"values": [{"values": [3]}, {"values": [3]}]}
    assert repr(flow) == "Flow('top': 4 jobs, 4 completed)"
    assert not connection.client().exists("bull:flownb:shared")


@pytest.mark.parametrize("peer", PEERS)
def test_a_shared_job_that_others_failed_fails_both_parents(peer, peers, connection):
    paid = fn.Node("paid", f"{peer}-items", {"do": "fail", "why": "no money"})
    parents = [fn.Node(name, "nobody", children=[paid]) for name in ("ship", "bill")]
    flow = fn.add(fn.Node("top", "nobody-top", children=parents))

    with pytest.raises(fn.FlowFailed, match="no money"):
        flow.result(timeout=30)
    assert flow.progress().failed == 4


@pytest.mark.parametrize("peer", PEERS)
def test_children_that_others_add_at_run_time_are_jobs_of_the_flow(peer, peers, connection, until):
    new = [leaf(peer, f"new-{i}", do="hold") for i in range(3)]
    grows = {"name": "grows", "queueName": f"{peer}-middle", "data": {"do": "grow", "children": new}}
    flow = fn.add(tree(peer, grows), name="growing")
    names = ["top", "grows", "new-0", "new-1", "new-2"]
    until(lambda: connection.client().zcard(f"bull:{peer}-middle:waiting-children"))

    until(lambda: flow.progress().active == 3)
    assert flow.progress().total == 5
    assert flow.progress().counts.by_stage[f"{peer}-middle"] == {"waiting-children": 1}
    assert sorted(flow.jobs()["name"]) == sorted(names)
    assert all(name in str(flow) and name in flow.draw().source for name in names)
    assert flow.explain()["job"].str.contains("top > grows > new-").any()
    connection.client().set("test:open", 1)
    assert flow.result(timeout=30)
    for handle in (flow, fn.attach("growing")):
        assert repr(handle) == "Flow('growing': 5 jobs, 5 completed)"
        assert set(handle.timeline()["name"]) == set(names)
    flow.remove()
    assert not connection.client().keys(f"bull:{peer}-*:new-*")


@pytest.mark.parametrize("peer", PEERS)
def test_a_task_is_a_stage_of_a_flow_that_others_made(peer, peers, connection):
    @fn.task(queue="ours")
    def double(value):
        return {"twice": 2 * value}

    stage = {"name": "double", "queueName": "ours", "data": {"value": 21}, "opts": {}}
    peers[peer].ask("add_flow", tree={**tree(peer, stage), "opts": {"jobId": "theirs"}})

    with fn.workers():
        assert fn.attach(f"{peer}-top:theirs").result(timeout=30) == {"values": [{"twice": 42}]}


@pytest.mark.parametrize("peer", PEERS)
def test_a_leaf_that_gets_children_while_one_looks_is_seen_to(peer, peers, connection, until):
    held = {"queue": f"{peer}-middle"}
    peers[peer].ask("pause", **held)
    grows = {"name": "grows", "queueName": f"{peer}-middle", "opts": {}}
    grows["data"] = {"do": "grow", "children": [leaf(peer, "new", do="hold")]}
    peers[peer].ask("add_flow", tree={**tree(peer, grows), "opts": {"jobId": "theirs"}})
    flow = fn.attach(f"{peer}-top:theirs")
    assert flow.progress().total == 2

    peers[peer].ask("resume", **held)

    until(lambda: flow.progress().total == 3)
    until(lambda: "new  active" in str(flow))
    connection.client().set("test:open", 1)
    assert flow.result(timeout=30) == {"values": [{"values": [1]}]}
    assert repr(flow) == "Flow('top': 3 jobs, 3 completed)"


@pytest.mark.parametrize("peer", PEERS)
def test_children_that_others_add_to_a_waiting_parent_are_jobs_of_the_flow(peer, peers, connection, until):
    flow = fn.add({"name": "top", "queueName": "ours", "children": [{"name": "slow", "queueName": "slow"}]})
    parent = {"id": flow.job.id, "queue": "bull:ours"}
    late = leaf(peer, "late", opts={"parent": parent})
    peers[peer].ask("add_jobs", queue=f"{peer}-items", jobs=[{k: late[k] for k in ("name", "data", "opts")}])

    until(lambda: flow.progress().total == 3)
    with fn.Worker(["ours", "slow"], lambda job: len(job.get_children_values())):
        assert flow.result(timeout=30) == 2
    for handle in (flow, fn.attach(f"ours:{flow.job.id}")):
        assert repr(handle) == "Flow('top': 3 jobs, 3 completed)"
        assert sorted(handle.jobs()["name"]) == ["late", "slow", "top"]


def test_any_worker_of_flownb_tells_further_parents(peers, connection, until):
    paid = fn.Node("paid", "node6-items", {"do": "value", "value": 3})
    parents = [fn.Node(name, "node6-middle", {"do": "gather"}, children=[paid]) for name in ("ship", "bill")]
    flow = fn.add(fn.Node("top", "node6-top", {"do": "gather"}, children=parents))

    with fn.Worker("elsewhere", print, stalled_interval=0.2):
        until(lambda: connection.client().hget(f"bull:node6-top:{flow.job.id}", "finishedOn"))


def test_a_batch_whose_rows_others_run_comes_back_on_its_index(peers, connection):
    import pandas as pd

    rows = pd.DataFrame({"do": "value", "value": [3, 5]}, index=["a", "b"])
    rows.loc["c"] = ["fail", 0]
    rows["why"] = "no such row"
    batch = fn.fan_out(rows, "node6-items", name="enriched")

    results = batch.results(timeout=30)["node6-items"]
    assert results.to_dict() == {"a": 3, "b": 5, "c": None}
    assert batch.failures.loc["c", "message"].endswith("no such row")
    assert batch.progress().fraction == 1.0
    assert batch.state == "completed"


@pytest.mark.parametrize("peer", PEERS)
def test_a_batchs_large_inputs_reach_other_programs_in_full_and_their_large_values_come_back_so(
    peer, peers, connection
):
    import pandas as pd

    values = [letter * 1_000_000 for letter in "abc"]
    rows = pd.DataFrame({"do": "value", "value": values}, index=list("xyz"))
    batch = fn.fan_out(rows, f"{peer}-items", name="large")

    assert dict(batch.as_completed(timeout=60)) == dict(zip("xyz", values, strict=True))
    assert batch.results(timeout=60)[f"{peer}-items"].to_dict() == dict(zip("xyz", values, strict=True))
    assert fn.attach("large").table()["value"].tolist() == values
    assert sorted(batch.job.get_children_values().values()) == values
