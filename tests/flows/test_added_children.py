"""Shows that a flow whose jobs added children while they ran is one flow: counted, drawn, explained, retried, removed."""

from __future__ import annotations

import json

import pytest

import flownb as fn


def crawl(job):
    """Add the pages that the data name."""
    return job.add_children(
        [{"name": f"page-{i}", "queueName": "pages", "data": i} for i in job.data["pages"]]
    )


def page(job):
    return job.data


@pytest.fixture
def three_sites():
    """Give a flow of three sites, of which two add pages: they are leaves as long as none has run."""
    sites = [{"name": "site", "queueName": "sites", "data": {"pages": n}} for n in ([], [1, 2], [3])]
    return fn.add({"name": "all", "queueName": "tops", "children": sites}, name="crawl")


def run(flow, page=page):
    with fn.Worker("sites", crawl), fn.Worker("pages", page), fn.Worker("tops", lambda job: "done"):
        return flow.wait(timeout=30)


def test_it_counts_lists_and_draws_what_was_added_below_its_leaves(three_sites):
    run(three_sites)
    assert three_sites.progress().total == three_sites.progress().completed == 7
    assert three_sites.jobs().name.value_counts().to_dict() == {
        "site": 3,
        "all": 1,
        "page-1": 1,
        "page-2": 1,
        "page-3": 1,
    }
    assert {node.name for node in three_sites._stored.snapshot().nodes} == {
        "all",
        "site",
        "page-1",
        "page-2",
        "page-3",
    }
    assert three_sites._stored.snapshot().left_out == 0
    assert "page-3" in three_sites.to_html()


def test_below_many_alike_one_that_has_grown_stands_for_all():
    sites = [
        {"name": f"site-{i}", "queueName": "sites", "data": {"pages": [1] * (i == 30)}} for i in range(40)
    ]
    flow = run(fn.add({"name": "all", "queueName": "tops", "children": sites}))
    assert [(node.name, node.count) for node in flow._stored.snapshot().nodes] == [
        ("all", 1),
        ("site-*", 40),
        ("page-1", 1),
    ]
    assert len(flow.jobs()) == 42


def test_what_is_added_in_several_calls_is_drawn_as_one_group():
    def crawl(job):
        for some in ([1, 2], [3, 4, 5, 6]):
            job.add_children([{"name": f"page-{i}", "queueName": "pages", "data": i} for i in some])

    flow = fn.add({"name": "site", "queueName": "sites"})
    with fn.Worker("sites", crawl), fn.Worker("pages", page):
        flow.wait(timeout=30)
    assert [(node.name, node.count) for node in flow._stored.snapshot().nodes] == [("site", 1), ("page-*", 6)]
    assert list(flow.job.get_children_values().values()) == [1, 2, 3, 4, 5, 6]


def test_while_they_wait_it_says_for_whom(three_sites, until):
    with fn.Worker("sites", crawl):
        until(lambda: three_sites.progress().counts.count("waiting-children") == 3)
        found = three_sites.explain()
    assert found.why.tolist()[0] == "no worker serves queue 'pages'"
    assert found.job.tolist()[0] == "all > site > page-1 and 2 more"


def test_a_retry_runs_the_failed_child_and_then_the_job_with_its_answers(three_sites):
    fails, runs = [True], []

    def page(job):
        runs.append(job.data)
        if job.data == 2 and fails:
            raise ValueError("not now")
        return job.data

    assert run(three_sites, page).state == "failed"
    fails.clear()
    three_sites.retry()
    assert run(three_sites, page).state == "completed"
    assert sorted(runs) == [1, 2, 2, 3]
    assert three_sites.progress().completed == 7


def test_a_retry_of_the_job_itself_asks_for_nothing_twice():
    fails = [True]

    def crawl_and_fail(job):
        values = crawl(job)
        if fails:
            raise ValueError("not now")
        return values

    flow = fn.add({"name": "site", "queueName": "sites", "data": {"pages": [1, 2]}})
    with fn.Worker("sites", crawl_and_fail), fn.Worker("pages", page):
        assert flow.wait(timeout=30).state == "failed"
        fails.clear()
        flow.retry()
        assert flow.result(timeout=30) == [1, 2]
    assert fn.Queue("pages").get_job_counts()["completed"] == 2


def test_a_removal_leaves_no_key(redis, three_sites):
    run(three_sites)
    three_sites.remove()
    kept = {key.decode().rsplit(":", 1)[1] for key in redis.keys("bull:*")}
    assert kept <= {"meta", "id", "events", "marker", "stalled-check", "served"}


def test_a_job_outside_any_flow_becomes_the_root_of_one(redis, until):
    job = fn.Queue("sites").add("site", {"pages": [1, 2]})
    with fn.Worker("sites", crawl), fn.Worker("pages", page):
        until(lambda: job.get_state() == "completed")
    flow = fn.attach(f"sites:{job.id}")
    assert (flow.name, flow.state, flow.result()) == ("site", "completed", [1, 2])
    assert flow.progress().completed == 3
    job.remove()
    assert not redis.keys("bull:flownb:flow:*")
    assert sum(fn.Queue("pages").get_job_counts().values()) == 0


def test_jobs_of_one_id_in_two_queues_do_not_share_their_children(until):
    queues = [fn.Queue(name) for name in ("sites", "shops")]
    jobs = [queue.add("a", {"pages": [i]}, {"jobId": "same"}) for i, queue in enumerate(queues)]
    with fn.Worker(["sites", "shops"], crawl), fn.Worker("pages", page):
        until(lambda: all(job.get_state() == "completed" for job in jobs))
    assert [queue.get_job("same").returnvalue for queue in queues] == [[0], [1]]


def test_a_job_that_another_program_removed_and_added_again_asks_anew(redis, until):
    queue = fn.Queue("sites")
    for pages in ([1, 2], [1, 2], [3]):
        job = queue.add("a", {"pages": pages}, {"jobId": "same"})
        with fn.Worker("sites", crawl), fn.Worker("pages", page):
            until(lambda job=job: job.get_state() == "completed")
        assert queue.get_job("same").returnvalue == pages
        for key in redis.keys("bull:sites:same*") + redis.keys("bull:pages:*-0-*"):
            redis.delete(key)  # as Node's obliterate does: it knows no key of flownb's own
        redis.delete("bull:sites:completed", "bull:pages:completed")


def test_the_root_of_another_programs_flow_stays_its_root(redis):
    root = {"name": "site", "queueName": "sites", "data": {"pages": [1, 2]}}
    root["children"] = [{"name": "first", "queueName": "pages", "data": 0}]
    flow = fn.FlowProducer().add(root, semantics="bullmq")
    with fn.Worker("sites", crawl), fn.Worker("pages", page):
        assert flow.result(timeout=30) == [1, 2]
    assert sorted(flow.jobs().name) == ["first", "page-1", "page-2", "site"]
    assert flow.progress().completed == 4
    assert redis.hget(f"bull:sites:{flow.job.id}", "fl") is None


def test_a_job_of_another_programs_flow_waits_and_fails_as_its_flow_does(redis, until):
    """BullMQ's flows stay BullMQ's: nothing of flownb's is written into them but the children themselves."""
    top = {"name": "top", "queueName": "tops"}
    flow = fn.add({**top, "children": [{"name": "site", "queueName": "sites", "data": {"pages": [1]}}]})
    jobs = [fn.Queue("sites").get_jobs("waiting")[0], flow.job]
    for job in jobs:
        redis.hdel(f"bull:{job.queue_name}:{job.id}", "fl")
    for key in redis.keys("bull:flownb:*"):
        redis.delete(key)
    with fn.Worker("sites", crawl), fn.Worker("pages", page), fn.Worker("tops", lambda job: "up"):
        until(lambda: jobs[1].get_state() == "completed")
    child = fn.Queue("pages").get_jobs("completed")[0]
    assert redis.hget(f"bull:pages:{child.id}", "fl") is None
    assert not redis.keys("bull:flownb:flow:*") + redis.keys("bull:flownb:counts:*")
    assert json.loads(redis.hget(f"bull:sites:{jobs[0].id}", "returnvalue")) == [1]


def test_the_rows_that_an_aggregate_receives_stay_the_same_when_it_adds_children():
    import pandas as pd

    @fn.task
    def double(x):
        return 2 * x

    @fn.task
    def check(total):
        return total > 0

    @fn.task
    def total(rows, job):
        found = int(rows["double"].sum())
        return [len(rows), found, *job.add_children([check.node(found)])]

    frame = pd.DataFrame({"x": [1, 2, 3]})
    with fn.workers():
        assert fn.fan_out(frame, double, into=total).result(timeout=30) == [3, 12, True]


def test_a_job_of_a_cancelled_flow_adds_nothing_and_one_that_waits_ends(until):
    import threading

    runs, may_add = threading.Event(), threading.Event()

    def crawl_late(job):
        if job.data.get("late"):
            runs.set()
            assert may_add.wait(30)
        return crawl(job)

    sites = [
        {"name": "site", "queueName": "sites", "data": {"pages": [1], "late": late}} for late in (False, True)
    ]
    flow = fn.add({"name": "all", "queueName": "tops", "children": sites})
    with fn.Worker("sites", crawl_late, concurrency=2):
        until(lambda: flow.progress().counts.count("waiting-children") == 2)
        assert runs.wait(20)
        flow.cancel()
        may_add.set()
        until(lambda: not flow.progress().active)
    assert flow.state == "cancelled"
    assert flow.jobs(state="failed").name.tolist() == ["all", "site", "site", "page-1"]
    assert fn.Queue("pages").get_job_counts()["waiting"] == 0
