"""Shows children that a running job adds: when its function runs again, what the call returns, who is told of failures."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import flownb as fn


def page(job):
    if job.data == "bad":
        raise fn.UnrecoverableError("no such page")
    return f"<{job.data}>"


def pages(*data, **opts):
    return [{"name": "page", "queueName": "pages", "data": one, "opts": opts} for one in data]


def serve(site, *, concurrency=1, **more):
    """Serve the queues of these tests: `site` adds the children, `page` is one."""
    stack = [fn.Worker("sites", site, concurrency=concurrency), fn.Worker("pages", page, concurrency=2)]
    stack += [fn.Worker(queue, function) for queue, function in more.items()]
    return _All(stack)


class _All:
    def __init__(self, workers):
        self.workers = workers

    def __enter__(self):
        for worker in self.workers:
            worker.start()

    def __exit__(self, *_):
        for worker in self.workers:
            worker.close()


SITE = {"name": "site", "queueName": "sites"}


def test_r8_a_job_adds_children_and_receives_their_values_in_order():
    runs = []

    def site(job):
        runs.append("top")
        values = job.add_children(pages("a", "b", "c"))
        runs.append("below")
        return values

    flow = fn.add(SITE)
    with serve(site):
        assert flow.result(timeout=30) == ["<a>", "<b>", "<c>"]
    assert runs == ["top", "top", "below"]
    assert flow.job.attempts_made == 1
    assert fn.Queue("pages").get_job_counts()["completed"] == 3


def test_several_calls_are_answered_in_the_order_in_which_they_are_made():
    def site(job):
        first = job.add_children(pages("a"))
        second = job.add_children(pages(first[0], "b"))
        return [first, second, job.add_children(pages(*second))]

    flow = fn.add(SITE)
    with serve(site):
        assert flow.result(timeout=30) == [["<a>"], ["<<a>>", "<b>"], ["<<<a>>>", "<<b>>"]]
    assert flow.progress().completed == 6


def test_a_job_that_waits_for_children_holds_no_slot():
    """Both jobs share one slot with their own children: if one held it, nothing would move."""

    def site(job):
        if job.name == "leaf":
            return job.data
        return sum(job.add_children([{"name": "leaf", "queueName": "sites", "data": n} for n in (1, 2)]))

    flows = [fn.add(SITE) for _ in range(3)]
    with fn.Worker("sites", site, concurrency=1):
        assert [flow.result(timeout=30) for flow in flows] == [3, 3, 3]


def test_no_children_are_an_answer_at_once():
    runs = []

    def site(job):
        runs.append(1)
        return [job.add_children([]), job.add_children(iter(())), job.add_children(pages("a"))]

    flow = fn.add(SITE)
    with serve(site):
        assert flow.result(timeout=30) == [[], [], ["<a>"]]
    assert len(runs) == 2


def test_children_add_children():
    def tree(job):
        deep = job.data
        below = [{"name": f"level {deep - 1}", "queueName": "trees", "data": deep - 1}] * 2 if deep else []
        return 1 + sum(job.add_children(below))

    flow = fn.add({"name": "level 4", "queueName": "trees", "data": 4})
    with fn.Worker("trees", tree, concurrency=4):
        assert flow.result(timeout=30) == 31
    assert flow.progress().completed == 31


def test_children_may_be_whole_trees_and_task_nodes():
    @fn.task
    def double(x):
        return 2 * x

    @fn.task
    def add_up(parts):
        return sum(parts)

    def site(job):
        tree = {"name": "upper", "queueName": "uppers", "children": pages("a", "b")}
        return job.add_children([tree, add_up.node([double.node(3), double.node(4)])])

    flow = fn.add(SITE)
    with serve(site, uppers=lambda job: list(job.get_children_values().values())), fn.workers():
        assert flow.result(timeout=30) == [["<a>", "<b>"], 14]
    assert flow.progress().total == 7


def test_a_child_that_fails_fails_the_job_at_once(until):
    runs = []

    def site(job):
        runs.append(1)
        return job.add_children([*pages("bad"), *[{"name": "never", "queueName": "nobody"}]])

    flow = fn.add({"name": "top", "queueName": "tops", "children": [{**SITE, "opts": {"attempts": 3}}]})
    with (
        serve(site),
        pytest.raises(fn.FlowFailed, match="top > site > page: UnrecoverableError: no such page"),
    ):
        flow.result(timeout=30)
    assert runs == [1]
    until(lambda: flow.jobs(state="failed").name.tolist() == ["top", "site", "page", "never"])


@pytest.mark.parametrize(
    "policy", ["ignoreDependencyOnFailure", "removeDependencyOnFailure", "continueParentOnFailure"]
)
def test_an_optional_child_that_fails_is_none_and_its_reason_is_told(policy):
    def site(job):
        values = job.add_children(pages("a", "bad", **{policy: True}))
        return [values, list(job.get_ignored_children_failures().values())]

    flow = fn.add(SITE)
    with serve(site):
        values, reasons = flow.result(timeout=30)
    assert values == ["<a>", None]
    assert reasons == ([] if policy.startswith("remove") else ["UnrecoverableError: no such page"])


def test_a_child_that_lets_its_parent_go_on_wakes_it_before_its_siblings_are_done(until):
    may_end, seen = threading.Event(), []

    def slow(job):
        assert may_end.wait(30)

    def site(job):
        opts = {"continueParentOnFailure": True}
        seen.append(
            job.add_children([*pages("bad", **opts), {"name": "slow", "queueName": "slow", "opts": opts}])
        )
        may_end.set()
        until(lambda: not job.get_dependencies_count()["unprocessed"])
        return "went on"

    flow = fn.add(SITE)
    with serve(site, slow=slow):
        assert flow.result(timeout=30) == "went on"
    assert seen == [[None, None]]


def test_an_attempt_that_fails_keeps_the_answers_and_a_wait_charges_none(until):
    seen = []

    def site(job):
        seen.append(job.attempts_made)
        values = job.add_children(pages("a", "b"))
        if job.attempts_made < 2:
            raise ValueError("not yet")
        return [*values, *job.add_children(pages("c"))]

    flow = fn.add({**SITE, "opts": {"attempts": 3}})
    with serve(site):
        assert flow.result(timeout=30) == ["<a>", "<b>", "<c>"]
    assert seen == [0, 0, 1, 2, 2]
    assert flow.job.attempts_made == 3
    assert fn.Queue("pages").get_job_counts()["completed"] == 3


@pytest.mark.parametrize("handler", ["for exceptions", "for everything", "that raises another"])
def test_a_function_that_catches_everything_cannot_keep_its_job_from_waiting(handler):
    def site(job):
        try:
            return job.add_children(pages("a"))
        except Exception:
            return "kept"
        except BaseException:
            if handler == "for exceptions":
                raise
            if handler == "for everything":
                return "kept"
            raise ValueError("in its place") from None

    flow = fn.add(SITE)
    with serve(site):
        assert flow.result(timeout=30) == ["<a>"]
    assert flow.job.attempts_made == 1


def test_coroutines_add_children_too():
    async def site(job):
        await asyncio.sleep(0)
        first = job.add_children(pages("a"))
        async with asyncio.TaskGroup() as group:
            second = group.create_task(asyncio.to_thread(job.add_children, pages("b")))
        return [first, second.result()]

    @fn.task
    async def crawl(words, job):
        return job.add_children(pages(*words))

    flow, other = fn.add(SITE), fn.add(crawl.node(["x", "y"]))
    with serve(site), fn.workers():
        assert flow.result(timeout=30) == [["<a>"], ["<b>"]]
        assert other.result(timeout=30) == ["<x>", "<y>"]


@pytest.mark.parametrize(("lifo", "least", "most"), [(True, 6, 12), (False, 32, 63)])
def test_r10_jobs_that_add_jobs_keep_few_open_where_children_go_first(lifo, least, most):
    """A tree six levels deep, two children a job: with lifo one branch is open at a time, else a whole level."""
    opened = set()
    numbers = []

    def tree(job):
        time.sleep(0.03)  # so long that none is fetched ahead
        if not job.data:
            return 1
        opened.add(job.id)
        numbers.append(len(opened))
        below = [{"name": "job", "queueName": "trees", "data": job.data - 1, "opts": {"lifo": lifo}}] * 2
        values = job.add_children(below)
        opened.discard(job.id)
        return 1 + sum(values)

    flow = fn.add({"name": "job", "queueName": "trees", "data": 6})
    with fn.Worker("trees", tree):
        assert flow.result(timeout=60) == 2**7 - 1
    assert least <= max(numbers) <= most


def test_ten_thousand_children_go_in_calls_of_five_hundred_and_come_back_in_order():
    def site(job):
        return job.add_children([{"name": f"n{i}", "queueName": "numbers", "data": i} for i in range(10_000)])

    flow = fn.add(SITE)
    with serve(site), fn.Worker("numbers", lambda job: job.data, concurrency=4):
        assert flow.result(timeout=120) == list(range(10_000))
    assert flow.progress().total == flow.progress().completed == 10_001


def test_r1_every_policy_ends_the_job_when_its_child_has_lost_its_worker_too_often(
    redis, start_worker, until
):
    def site(job):
        return job.add_children([{"name": "bad", "queueName": "bad", "opts": {job.data: True}}])

    policies = {
        "failParentOnFailure": "failed",
        "ignoreDependencyOnFailure": "completed",
        "removeDependencyOnFailure": "completed",
        "continueParentOnFailure": "completed",
    }
    flows = {policy: fn.add({**SITE, "data": policy}) for policy in policies}
    with fn.Worker("sites", site):
        for deaths in range(1, 5):
            worker = start_worker("bad", "gated", max_stalled_count=0)
            until(lambda deaths=deaths: redis.llen("ran") == deaths)
            worker.kill()
        with fn.Worker("bad", lambda job: "never"):
            assert {policy: flow.wait(timeout=30).state for policy, flow in flows.items()} == policies


# ---- crashes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["in the middle of adding", "after adding", "after waiting"])
def test_r8_a_worker_killed_on_the_way_adds_nothing_twice(redis, start_worker, until, dies):
    """Nothing runs before the worker is dead, so that what is stored twice would be seen."""
    function = {"in the middle of adding": "adds_half", "after adding": "adds_and_hangs"}.get(dies, "adds")
    flow = fn.add(SITE)
    worker = start_worker("sites", function)
    if dies == "after waiting":
        until(lambda: flow.job.get_state() == "waiting-children")
    else:
        until(lambda: redis.exists("reached"))
    worker.kill()
    if dies != "after waiting":
        until(lambda: flow.job.get_state() == "waiting")
    redis.set("gate", 1)
    start_worker("sites", "adds")
    with fn.Worker("pages", page, concurrency=4):
        assert flow.result(timeout=60) == [f"<{i}>" for i in range(1500)]
    assert fn.Queue("pages").get_job_counts()["completed"] == 1500
    assert redis.get("bull:pages:id") == b"1500"
    assert flow.job.attempts_made == 1


def test_a_run_that_was_given_up_adds_nothing(until):
    hangs, may_go, refused = threading.Event(), threading.Event(), []

    def site(job):
        hangs.set()
        may_go.wait(30)
        try:
            job.add_children(pages("a"))
        except Exception as error:
            refused.append(type(error).__name__)

    job = fn.Queue("sites").add("site", opts={"timeout": 100})
    with serve(site):
        assert hangs.wait(20)
        until(lambda: job.get_state() == "failed")
        may_go.set()
        until(lambda: refused)
    assert refused == ["JobElsewhere"]
    assert sum(fn.Queue("pages").get_job_counts().values()) == 0


# ---- refused ------------------------------------------------------------------------------------------------


def test_fewer_children_at_the_same_call_fail_the_job_too():
    runs = []

    def site(job):
        runs.append(1)
        return job.add_children(pages("a", "b")[: 3 - len(runs)])

    flow = fn.add(SITE)
    with serve(site), pytest.raises(fn.FlowFailed, match="than in the run before, fewer of them"):
        flow.result(timeout=30)


def test_other_children_at_the_same_call_fail_the_job_and_say_what_differs():
    runs = []

    def site(job):
        runs.append(1)
        return job.add_children(pages("a", "b" if len(runs) == 1 else "c"))

    flow = fn.add({**SITE, "opts": {"attempts": 3}})
    with serve(site), pytest.raises(fn.FlowFailed) as caught:
        flow.result(timeout=30)
    told = "'page' with \"c\" at children[1], which was 'page' with \"b\""
    assert f"call 1 of this function: asks for other children than in the run before, {told}" in str(
        caught.value
    )
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("children", "message"),
    [
        ({"name": "a", "queueName": "q"}, "add_children takes a list of nodes, not dict"),
        ([{"name": "a"}], "children[0]: 'queueName' is missing"),
        (
            [{"name": "a", "queueName": "q", "children": [{"name": "b", "queueName": "q:q"}]}],
            "children[0]/children[0]: queueName must not hold a colon",
        ),
        (pages("a", attemps=3), "children[0]: opts.attemps: no such option; did you mean 'attempts'?"),
        ([fn.Node("a", "q")] * 2, "two of the children are one job; give each once"),
        (
            [{"name": "top", "queueName": "tops", "opts": {"jobId": "me"}}],
            "job 'site' cannot wait for itself or for a job that waits for it",
        ),
    ],
)
def test_bad_children_are_refused_before_any_is_stored(redis, children, message):
    flow = fn.add({"name": "top", "queueName": "tops", "opts": {"jobId": "me"}, "children": [SITE]})
    with serve(lambda job: job.add_children(children)), pytest.raises(fn.FlowFailed) as caught:
        flow.result(timeout=30)
    assert message in str(caught.value)
    assert not redis.exists("bull:pages:id", "bull:q:id")


def test_only_the_job_that_a_function_was_given_takes_children():
    job = fn.Queue("sites").add("site")
    with pytest.raises(fn.FlowError, match="for the function that runs the job"):
        job.add_children(pages("a"))
