"""Shows that ``semantics="bullmq"`` stores what BullMQ's own producer stores, and that nothing of flownb's is left beside it."""

from __future__ import annotations

import json

import pytest

import flownb as fn


def add(tree, **more):
    """Add as BullMQ would; return the root job."""
    return fn.add(tree, semantics="bullmq", **more).job


def node(name, *children, queue="q", **opts):
    return {"name": name, "queueName": queue, "opts": opts, "children": list(children)}


def stored(redis, key):
    """Return a job's hash with its JSON fields parsed and its time left out."""
    found = {field.decode(): value.decode() for field, value in redis.hgetall(key).items()}
    found.pop("timestamp")
    for field in ("data", "opts", "parent"):
        if field in found:
            found[field] = json.loads(found[field])
    return found


def own_keys(redis):
    return [key for key in redis.scan_iter() if b":flownb:" in key]


def test_each_job_is_stored_as_bullmq_stores_it(redis):
    """The expected values are what bullmq 6.7.0 (npm) writes for the same tree."""
    options = {"attempts": 2, "backoff": 100, "removeOnComplete": True, "priority": 3}
    tree = node(
        "root",
        node("one", queue="c", jobId="one", failParentOnFailure=False, keepLogs=4, sizeLimit=500),
        node("two", queue="c", jobId="two", failParentOnFailure=True, delay=10_000, lifo=True),
        node("deep", node("leaf", queue="d", jobId="leaf", priority=0), queue="c", jobId="deep", delay=500),
        jobId="top",
        removeOnFail={"age": 5, "count": 3},
        **options,
    )
    add(tree | {"data": {"a": 1}})

    stored_options = {**options, "backoff": {"type": "fixed", "delay": 100}, "jobId": "top"}
    assert stored(redis, "bull:q:top") == {
        "name": "root",
        "data": {"a": 1},
        "opts": {**stored_options, "removeOnFail": {"age": 5, "count": 3}},
        "delay": "0",
        "priority": "3",
    }
    root, top = {"id": "top", "queue": "bull:q"}, {"id": "top", "queueKey": "bull:q"}
    child = {"data": {}, "delay": "0", "priority": "0", "parentKey": "bull:q:top", "parent": top}
    one = {"jobId": "one", "fpof": False, "kl": 4, "sizeLimit": 500, "attempts": 0, "parent": root}
    assert stored(redis, "bull:c:one") == {**child, "name": "one", "opts": one}
    two = {"jobId": "two", "fpof": True, "delay": 10_000, "lifo": True, "attempts": 0, "parent": root}
    assert stored(redis, "bull:c:two") == {
        **child,
        "name": "two",
        "delay": "10000",
        "opts": two,
        "parent": {**top, "fpof": True},
    }
    assert stored(redis, "bull:d:leaf")["opts"]["parent"] == {"id": "deep", "queue": "bull:c"}
    assert redis.smembers("bull:q:top:dependencies") == {b"bull:c:one", b"bull:c:two", b"bull:c:deep"}
    assert redis.smembers("bull:c:deep:dependencies") == {b"bull:d:leaf"}
    assert (redis.get("bull:q:id"), redis.get("bull:c:id"), redis.get("bull:d:id")) == (b"1", b"3", b"1")
    events = [fields[b"event"].decode() for _, fields in redis.xrange("bull:c:events")]
    assert events == ["added", "waiting", "added", "delayed", "added", "waiting-children"]
    assert own_keys(redis) == []


@pytest.mark.parametrize("policy", ["continueParentOnFailure", "ignoreDependencyOnFailure"])
def test_a_policy_stands_in_the_options_and_in_the_link_to_the_parent(redis, policy):
    add(node("root", node("c", queue="c", jobId="c1", **{policy: True}), jobId="r1"))
    short = {"continueParentOnFailure": "cpof", "ignoreDependencyOnFailure": "idof"}[policy]
    found = stored(redis, "bull:c:c1")
    assert found["parent"] == {"id": "r1", "queueKey": "bull:q", short: True}
    assert found["opts"] == {
        "attempts": 0,
        "jobId": "c1",
        short: True,
        "parent": {"id": "r1", "queue": "bull:q"},
    }


def test_a_failed_child_without_a_policy_leaves_its_parent_waiting(until):
    root = add(node("root", node("c", queue="c")))
    with fn.Worker("c", lambda job: 1 / 0), fn.Worker("q", lambda job: "ran"):
        until(lambda: fn.Queue("c").get_job_counts()["failed"] == 1)
        assert root.get_state() == "waiting-children"
    with fn.Worker("c", lambda job: 7), fn.Worker("q", lambda job: list(job.get_children_values().values())):
        fn.Queue("c").get_jobs("failed")[0].retry()
        until(lambda: root.get_state() == "completed")
    assert fn.Queue("q").get_job(root.id).returnvalue == [7]


def test_the_same_object_under_two_parents_is_two_jobs(until):
    shared = fn.Node("s", "s", {"n": 1}, children=[fn.Node("below", "s")])
    root = add(node("root", node("a", shared), node("b", shared)))
    assert fn.Queue("s").get_job_counts()["waiting-children"] == 2
    assert fn.Queue("s").get_job_counts()["waiting"] == 2
    with fn.Worker(["q", "s"], lambda job: None):
        until(lambda: root.get_state() == "completed")


def test_a_bare_mention_is_a_job_of_its_own(capsys):
    full = {**node("s", node("below")), "data": {"n": 1}}
    add(node("root", node("a", full), node("b", {**node("s"), "data": {"n": 1}})))
    assert sorted(job.name for job in fn.Queue("q").get_jobs(["waiting"])) == ["below", "s"]
    assert capsys.readouterr().out == ""


def test_one_id_under_two_parents_is_refused_where_bullmq_would_wait_for_ever(redis):
    with pytest.raises(fn.FlowError) as refusal:
        add(node("root", node("a", node("s", jobId="s1")), node("b", node("s", jobId="s1"))))
    assert str(refusal.value).startswith(
        "root/children[1]/children[0]: opts.jobId 's1' is also that of root/children[0]/children[0], "
        "and BullMQ gives a job one parent"
    )
    assert redis.dbsize() == 0


def test_a_job_of_another_parent_is_refused_by_path_and_nothing_is_written(redis):
    add(node("first", node("s", queue="s", jobId="s1")))
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    with pytest.raises(
        fn.FlowError, match=r"root/children\[1\]: opts.jobId 's1' is a job that has another parent"
    ):
        add(node("root", node("a"), node("s", queue="s", jobId="s1")))
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before


def test_a_root_of_a_flow_of_flownbs_cannot_become_a_child(redis):
    fn.add(node("inner", queue="s", jobId="s1"))
    with pytest.raises(fn.FlowError, match="another parent"):
        add(node("root", node("inner", queue="s", jobId="s1")))


def test_a_job_without_a_parent_gets_one_and_keeps_its_data(redis, until):
    fn.Queue("s").add("alone", {"n": 1}, {"jobId": "s1"})
    root = add(node("root", {**node("other", queue="s", jobId="s1"), "data": {"n": 2}}))
    assert stored(redis, "bull:s:s1")["parentKey"] == f"bull:q:{root.id}"
    assert stored(redis, "bull:s:s1")["data"] == {"n": 1}
    assert redis.get("bull:s:id") == b"2"  # BullMQ counts attempts
    with fn.Worker(["q", "s"], lambda job: job.name):
        until(lambda: root.get_state() == "completed")


def test_a_job_that_has_completed_gives_its_value_and_releases_the_new_parent(until):
    with fn.Worker("s", lambda job: 7):
        fn.Queue("s").add("alone", opts={"jobId": "s1"})
        until(lambda: fn.Queue("s").get_job("s1").get_state() == "completed")
    root = add(node("root", node("alone", queue="s", jobId="s1")))
    assert root.get_state() == "waiting"
    assert dict(root.get_children_values()) == {"s:s1": 7}


def test_the_same_tree_again_adds_nothing(redis):
    tree = node("root", node("c", queue="c", jobId="c1"), jobId="r1")
    add(tree)
    again = add(tree)
    assert (again.id, fn.Queue("c").get_job_counts()["waiting"]) == ("r1", 1)
    events = [fields[b"event"] for _, fields in redis.xrange("bull:c:events")]
    assert events.count(b"duplicated") == 1


def test_a_flow_of_several_calls_runs_when_its_last_child_is_stored(redis, until):
    root = add(node("root", *[node("c", queue="c") for _ in range(1_200)]))
    assert redis.scard(f"bull:q:{root.id}:dependencies") == 1_200
    assert own_keys(redis) == []
    with (
        fn.Worker("c", lambda job: 1, concurrency=8),
        fn.Worker("q", lambda job: len(job.get_children_values())),
    ):
        until(lambda: root.get_state() == "completed", 60)
    assert fn.Queue("q").get_job(root.id).returnvalue == 1_200


def test_what_bullmq_cannot_store_is_refused(redis):
    @fn.task
    def total(values):
        return sum(values)

    @fn.task
    def one():
        return 1

    with pytest.raises(
        fn.FlowError, match="root: a task with nodes or files as arguments is more than BullMQ can store"
    ):
        add(total.node([one.node()]))
    with pytest.raises(fn.OptionError, match="name: BullMQ's flows have none"):
        add(node("root"), name="mine")
    with pytest.raises(fn.OptionError, match="semantics: 'flownb' or 'bullmq', not 'bull'"):
        fn.FlowProducer().add(node("root"), semantics="bull")
    assert redis.dbsize() == 0


def test_a_node_that_holds_itself_is_a_cycle(redis):
    me = fn.Node("me", "q")
    me.children = [fn.Node("between", "q", children=[me])]
    with pytest.raises(fn.FlowError, match="cycle: "):
        add(node("root", me))
    assert redis.dbsize() == 0


def test_many_trees_are_added_in_one_go():
    flows = fn.FlowProducer().add_bulk([node(f"r{n}", node("c")) for n in range(3)], semantics="bullmq")
    assert [flow.state for flow in flows] == ["waiting-children"] * 3


def test_the_handle_follows_the_flow_as_one_that_a_node_service_added():
    flow = fn.add(node("root", node("a", queue="c"), node("b", queue="c")), semantics="bullmq")
    assert flow.progress().total == 3
    with (
        fn.Worker("c", lambda job: 7),
        fn.Worker("q", lambda job: sum(job.get_children_values().values())),
    ):
        assert flow.result(timeout=30) == 14
    assert (flow.state, flow.progress().completed) == ("completed", 3)
    assert fn.attach(f"q:{flow.job.id}").result(timeout=5) == 14


def test_the_same_ids_can_be_replaced_or_refused_here_too(redis):
    tree = node("root", node("c", queue="c", jobId="c1"), jobId="r1")
    add(tree)
    with pytest.raises(fn.FlowError, match=r"root: opts.jobId 'r1' is there already"):
        add(tree, if_exists="error")
    add({**tree, "data": {"n": 2}}, if_exists="rerun")
    assert stored(redis, "bull:q:r1")["data"] == {"n": 2}
    assert fn.Queue("c").get_job_counts()["waiting"] == 1


def test_a_flow_that_is_gone_as_soon_as_it_is_added_is_no_error():
    with fn.Worker("q", lambda job: 7):
        for _ in range(20):
            flow = fn.add({**node("r"), "opts": {"removeOnComplete": True}}, semantics="bullmq")
            assert flow.name == "r"
