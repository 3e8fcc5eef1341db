"""Shows which mentions of a tree are one job, and which are several: by object, by id, by bare re-mention."""

from __future__ import annotations

import copy

import pytest

import flownb as fn


def node(name, *children, data=None, **opts):
    made = {"name": name, "queueName": f"q-{name}", "children": list(children)}
    if data is not None:
        made["data"] = data
    if opts:
        made["opts"] = opts
    return made


def names(flow):
    return sorted(flow.jobs()["name"])


def test_a_node_used_twice_is_one_job_with_two_parents(capsys):
    shared = fn.Node("s", "q-s")
    flow = fn.add(node("root", node("a", shared), fn.Node("b", "q-b", children=[shared])))
    assert names(flow) == ["a", "b", "root", "s"]
    assert capsys.readouterr().out == "shared: s under a and b\n"


def test_of_many_shared_jobs_and_parents_few_are_named(capsys):
    shared = [fn.Node(f"s{n}", "q-s") for n in range(7)]
    fn.add(node("root", *[node(f"p{n}", *shared) for n in range(10_000 // 7)]))
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "shared: s0 under p0, p1, p2, p3 and 1,424 more"
    assert told[-1] == "shared: 2 more jobs"
    assert len(told) == 6


def test_the_same_dict_under_two_parents_is_one_job():
    shared = node("s", node("below"))
    flow = fn.add(node("root", node("a", shared), node("b", shared)))
    assert names(flow) == ["a", "b", "below", "root", "s"]


def test_the_same_dict_twice_under_one_parent_is_two_jobs():
    child = node("child")
    assert names(fn.add(node("root", *[child] * 20))) == ["child"] * 20 + ["root"]


def test_equal_siblings_are_never_merged():
    children = [node("child", data={"n": 1}) for _ in range(3)]
    assert names(fn.add(node("root", *children))) == ["child"] * 3 + ["root"]


def test_one_node_twice_under_one_parent_is_one_job():
    shared = fn.Node("s", "q-s")
    flow = fn.add(fn.Node("root", "q-root", children=[shared, shared]))
    assert names(flow) == ["root", "s"]
    assert flow.job.get_dependencies_count()["unprocessed"] == 1


def test_the_same_queue_and_id_are_one_job():
    flow = fn.add(node("root", node("a", node("s", jobId="s1")), node("b", node("s", jobId="s1"))))
    assert names(flow) == ["a", "b", "root", "s"]


def test_the_same_id_in_two_queues_is_two_jobs():
    flow = fn.add(node("root", node("a", jobId="one"), node("b", jobId="one")))
    assert names(flow) == ["a", "b", "root"]


@pytest.mark.parametrize("full_first", [True, False])
def test_an_id_mentioned_with_children_once_keeps_them(full_first):
    full, bare = node("s", node("below"), jobId="s1"), node("s", jobId="s1")
    first, second = (full, bare) if full_first else (bare, full)
    flow = fn.add(node("root", node("a", first), node("b", second)))
    assert names(flow) == ["a", "b", "below", "root", "s"]


def test_an_id_mentioned_twice_with_equal_children_has_them_once():
    subtree = node("s", node("below", data={"n": 1}), jobId="s1")
    flow = fn.add(node("root", node("a", subtree), node("b", copy.deepcopy(subtree))))
    assert names(flow) == ["a", "b", "below", "root", "s"]


def test_an_id_with_other_data_is_refused_with_both_paths(redis):
    tree = node(
        "root",
        node("a", node("s", data={"n": 1}, jobId="s1")),
        node("b", node("s", data={"n": 2}, jobId="s1")),
    )
    with pytest.raises(fn.FlowError) as refusal:
        fn.add(tree)
    assert str(refusal.value).startswith(
        "root/children[1]/children[0]: the id 's1' is also that of root/children[0]/children[0]"
    )
    assert redis.dbsize() == 0


def test_a_bare_mention_elsewhere_is_the_job_it_mentions(capsys):
    full = node("s", node("below"), data={"n": 1})
    flow = fn.add(node("root", node("a", full), node("b", node("s", data={"n": 1}))))
    assert names(flow) == ["a", "b", "below", "root", "s"]
    assert capsys.readouterr().out == "shared: s under a and b\n"


def test_a_bare_mention_as_a_task_argument_has_the_value_of_the_job_it_mentions():
    @fn.task(queue="q-total")
    def total(part):
        return part + 1

    bare, full = fn.Node("s", "q-s", {"n": 1}), node("s", node("below"), data={"n": 1})
    flow = fn.add(node("root", total.node(part=bare), full))
    assert names(flow) == ["below", "root", "s", "total"]
    with (
        fn.Worker("q-below", lambda job: None),
        fn.Worker("q-s", lambda job: 41),
        fn.Worker("q-total", total),
        fn.Worker("q-root", lambda job: job.get_children_values()),
    ):
        assert 42 in flow.result(timeout=30).values()


@pytest.mark.parametrize(
    "other",
    [
        node("s", data={"n": 2}),
        node("s", node("other"), data={"n": 1}),
        node("t", data={"n": 1}),
        {**node("s", data={"n": 1}), "queueName": "elsewhere"},
        node("s", data={"n": 1}, jobId="mine"),
    ],
    ids=["other data", "children of its own", "another name", "another queue", "an id of its own"],
)
def test_what_differs_is_another_job(other):
    flow = fn.add(node("root", node("a", node("s", node("below"), data={"n": 1})), node("b", other)))
    assert len(names(flow)) == 6 + (other.get("children") != [])


def test_a_bare_mention_without_data_is_another_job():
    flow = fn.add(node("root", node("a", node("s", node("below"))), node("b", node("s"))))
    assert names(flow).count("s") == 2


def test_a_mention_below_itself_is_another_job():
    flow = fn.add(node("root", node("s", node("a", node("s", data={"n": 1})), data={"n": 1})))
    assert names(flow).count("s") == 2


def test_a_bare_mention_under_layers_of_shared_jobs_is_found_quickly():
    layer = [fn.Node("bare", "q-s", {"n": 1})]
    for depth in range(30):
        layer = [fn.Node(f"l{depth}-{side}", "layers", children=layer) for side in range(2)]
    full = fn.Node("bare", "q-s", {"n": 1}, children=[fn.Node("below", "q-s")])
    flow = fn.add(fn.Node("root", "q-root", children=[*layer, fn.Node("other", "q-o", children=[full])]))
    assert flow.progress().total == 1 + 60 + 1 + 2


def test_cycles_are_refused_with_the_path_they_take(redis):
    a, b, c = fn.Node("a", "q"), fn.Node("b", "q"), fn.Node("c", "q")
    a.children, b.children, c.children = [b], [c], [a]
    with pytest.raises(
        fn.FlowError, match=r"root/children\[0\].*: cycle: .*a -> b -> c|b -> c -> a|c -> a -> b"
    ):
        fn.add(fn.Node("root", "q", children=[a]))
    assert redis.dbsize() == 0


def test_a_job_that_waits_for_itself_is_refused(redis):
    me = node("me")
    me["children"].append(me)
    with pytest.raises(fn.FlowError, match=r"^root.*: cycle: me -> me; a job cannot wait for itself"):
        fn.add(me)
    twice = node("twice")
    twice["children"] += [twice, twice]
    with pytest.raises(fn.FlowError, match="cycle: twice -> twice"):
        fn.add(node("root", twice))
    with pytest.raises(fn.FlowError, match="cycle: x -> x"):
        fn.add(node("root", node("x", node("x", jobId="x"), jobId="x")))
    assert redis.dbsize() == 0


def test_a_chain_of_ten_thousand_is_stored_and_drawn():
    tree = node("n", data={"depth": 0})
    for depth in range(1, 10_000):
        tree = {"name": "n", "queueName": "q-n", "data": {"depth": depth}, "children": [tree]}
    flow = fn.add(tree)
    assert flow.progress().total == 10_000
    assert fn.Queue("q-n").get_job_counts() == {
        **dict.fromkeys(("active", "delayed", "prioritized", "completed", "failed"), 0),
        "waiting": 1,
        "waiting-children": 9_999,
    }
    assert fn.Queue("q-n").get_jobs("waiting")[0].data == {"depth": 0}


# ---- each way to share a job, however it goes -------------------------------------------------------------------


def by_object():
    shared = fn.Node("s", "q-s", {"n": 1}, {"jobId": "s1"}, [fn.Node("below", "q-s")])
    return node("root", node("a", shared), node("b", shared))


def by_id():
    full = node("s", {"name": "below", "queueName": "q-s"}, data={"n": 1}, jobId="s1")
    return node("root", node("a", full), node("b", node("s", jobId="s1")))


def by_bare_mention():
    full = node("s", {"name": "below", "queueName": "q-s"}, data={"n": 1}, jobId="s1")
    return node("root", node("a", full), node("b", node("s", data={"n": 1})))


SHARED = pytest.mark.parametrize("tree", [by_object, by_id, by_bare_mention], ids=lambda made: made.__name__)


class Work:
    def __init__(self, failures=0):
        self.ran = []
        self.failures = failures

    def __call__(self, job):
        self.ran.append(job.name)
        if job.name == "s" and self.failures:
            self.failures -= 1
            raise ValueError("s is broken")
        return {job.name: dict(job.get_children_values())} if job.name in "ab" else job.name


def work_off(flow, work):
    with fn.Worker(["q-root", "q-a", "q-b", "q-s"], work):
        return flow.wait(timeout=30)


@SHARED
def test_both_parents_get_the_value_of_the_one_run_under_the_jobs_own_key(tree):
    flow, work = fn.add(tree()), Work()
    assert work_off(flow, work).state == "completed"
    assert sorted(work.ran) == ["a", "b", "below", "root", "s"]
    assert list(flow.job.get_children_values().values()) == [{"a": {"q-s:s1": "s"}}, {"b": {"q-s:s1": "s"}}]


@SHARED
def test_a_shared_job_that_fails_fails_both_and_runs_once_more_when_the_flow_is_retried(tree):
    flow, work = fn.add(tree()), Work(failures=1)
    assert work_off(flow, work).state == "failed"
    assert work.ran == ["below", "s"]
    assert sorted(flow.jobs(state="failed")["name"]) == ["a", "b", "root", "s"]
    assert work_off(flow.retry(), work).state == "completed"
    assert sorted(work.ran) == ["a", "b", "below", "root", "s", "s"]


@SHARED
def test_a_shared_job_that_is_removed_lets_both_run_without_it(tree):
    flow, work = fn.add(tree()), Work()
    fn.Queue("q-s").get_job("s1").remove()
    assert work_off(flow, work).state == "completed"
    assert sorted(work.ran) == ["a", "b", "root"]
    assert list(flow.job.get_children_values().values()) == [{"a": {}}, {"b": {}}]


@SHARED
@pytest.mark.parametrize("failures", [0, 1], ids=["completed", "failed"])
def test_a_shared_job_that_had_ended_before_counts_for_both(tree, failures):
    before, work = fn.add(node("old", node("s", jobId="s1", data={"n": 1}))), Work(failures)
    with fn.Worker(["q-old", "q-s"], work):
        before.wait(timeout=30)
    flow = fn.add(tree())
    if failures:
        assert flow.state == "failed"
        assert sorted(flow.jobs(state="failed")["name"]) == ["a", "b", "root", "s"]
        return
    assert work_off(flow, work).state == "completed"
    assert work.ran.count("s") == 1
    assert list(flow.job.get_children_values().values()) == [{"a": {"q-s:s1": "s"}}, {"b": {"q-s:s1": "s"}}]


def test_jobs_below_parents_that_are_drawn_as_one_are_counted_once():
    days = [
        node(f"day-{n}", *({"name": name, "queueName": "etl"} for name in ("load", "check")))
        | {"queueName": "days"}
        for n in range(10)
    ]
    flow = fn.add(node("root", *days, {"name": "begin", "queueName": "etl"}))
    assert str(flow).splitlines()[1:] == [
        "◇ root  waiting for 11 jobs",
        "├─ ◇ day-* × 10  10 waiting for children",
        "│  └─ ○ etl × 20  20 waiting",
        "└─ ○ begin  waiting",
    ]
