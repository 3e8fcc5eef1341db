"""Jobs that are added once for an id, or below a parent that is there: flownb's producer beside Node's and Python's."""

from __future__ import annotations

import json
from typing import Any

import pytest

import flownb as fn
from tests.support.peers.beside import dump
from tests.support.peers.process import PeerError


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


@pytest.fixture(scope="module")
def python(start_peer):
    return start_peer("python")


MODES: dict[str, dict[str, Any]] = {
    "simple": {},
    "throttle": {"ttl": 60_000},
    "extend": {"ttl": 60_000, "extend": True},
    "replace": {"replace": True},
    "debounce": {"ttl": 60_000, "extend": True, "replace": True},
    "replace, and keep the time": {"ttl": 60_000, "replace": True},
    "reschedule": {"reschedule": True},
    "reschedule with a time": {"reschedule": True, "ttl": 60_000},
    "keep the last": {"keepLastIfActive": True},
    "keep the last or replace": {"keepLastIfActive": True, "replace": True},
    "keep the last with a time": {"keepLastIfActive": True, "ttl": 60_000},
}
#: where the first job of an id is when the next two come
OWNERS = ("waiting", "delayed", "prioritized", "active", "gone", "completed")


def job(id: str, how: dict[str, Any], **opts: Any) -> dict[str, Any]:
    return {
        "name": id,
        "data": {"of": id},
        "opts": {"jobId": id, "deduplication": {"id": "d", **how}, **opts},
    }


def begin(redis, queue: str, owner: str) -> None:
    """Put the first job where it is to be, by hand: no worker's clock is in it."""
    base = f"bull:{queue}"
    if owner in ("active", "gone", "completed"):
        redis.lrem(f"{base}:wait", 1, "first")
    if owner == "active":
        redis.lpush(f"{base}:active", "first")
    elif owner == "gone":
        redis.delete(f"{base}:first")
    elif owner == "completed":
        redis.zadd(f"{base}:completed", {"first": 1_700_000_000_000})


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_stored_of_jobs_of_one_id_is_what_node_stores(mode, owner, node6, redis, connection):
    first = {"delayed": {"delay": 50_000}, "prioritized": {"priority": 2}}.get(owner, {})
    later: list[dict[str, Any]] = [{"delay": 70_000}, {"attempts": 3}]
    answers: dict[str, list[str]] = {}
    for who in ("node", "ours"):
        queue, ours = f"{who}-line", fn.Queue(f"{who}-line")

        def add(one, who=who, queue=queue, ours=ours):
            if who == "ours":
                return ours.add(one["name"], one["data"], one["opts"]).id
            return node6.ask("call", queue=queue, method="add", args=[one["name"], one["data"], one["opts"]])

        answers[who] = [add(job("first", MODES[mode], **first))]
        begin(redis, queue, owner)
        answers[who] += [add(job(f"later-{n}", MODES[mode], **opts)) for n, opts in enumerate(later)]
        answers[who] += [add(job("later-1", MODES[mode]))]  # its own id is there, where it was added

    assert answers["ours"] == answers["node"]
    assert dump(redis, "ours") == dump(redis, "node")


def test_an_id_may_be_given_as_a_keyword_and_python_stores_the_same(python, redis, connection):
    how = {"id": "d", "ttl": 60_000}
    for id in ("first", "second"):
        python.ask(
            "call", queue="theirs-line", method="add", args=[id, {}, {"jobId": id, "deduplication": how}]
        )
        fn.Queue("ours-line").add(id, {}, {"jobId": id}, deduplication={"id": "d", "ttl": "60s"})

    ours, theirs = dump(redis, "ours"), dump(redis, "theirs")
    theirs["bull:line:first"]["opts"].pop("delay")  # Python's port alone writes it
    assert ours == theirs


def test_an_id_whose_job_is_gone_still_answers_until_its_time_is_over(redis, connection):
    queue = fn.Queue("ours-line")
    first = queue.add("mail", {"to": "ada"}, deduplication={"id": "d", "ttl": "1m"})
    first.remove()
    redis.set("bull:ours-line:de:d", first.id, px=60_000)  # BullMQ's workers leave it so

    second = queue.add("mail", {"to": "bob"}, deduplication={"id": "d", "ttl": "1m"})

    assert (second.id, second.get_state(), second.data) == (first.id, "unknown", {"to": "bob"})


def test_many_jobs_of_several_ids_are_added_in_order(node6, redis, connection):
    jobs = [job(f"j{n}", {"id": f"d{n % 2}"}) for n in range(4)] + [
        {"name": "plain", "opts": {"jobId": "plain"}}
    ]

    theirs = node6.ask("call", queue="node-line", method="addBulk", args=[jobs])
    ours = [one.id for one in fn.Queue("ours-line").add_bulk(jobs)]

    assert ours == theirs == ["j0", "j1", "j0", "j1", "plain"]
    assert redis.lrange("bull:ours-line:wait", 0, -1) == redis.lrange("bull:node-line:wait", 0, -1)


def test_a_removed_key_frees_its_id(node6, redis, connection):
    for who in ("node", "ours"):
        node6.ask("add_jobs", queue=f"{who}-line", jobs=[job("first", {})])

    theirs = [
        node6.ask("call", queue="node-line", method="removeDeduplicationKey", args=["d"]) for _ in range(2)
    ]
    ours = [fn.Queue("ours-line").remove_deduplication_key("d") for _ in range(2)]

    assert ours == theirs == [1, 0]
    assert dump(redis, "ours") == dump(redis, "node")


POLICIES = [{}, {"failParentOnFailure": True}, {"ignoreDependencyOnFailure": True}, {"delay": 60_000}]


@pytest.mark.parametrize("opts", POLICIES, ids=str)
def test_a_job_below_a_parent_that_is_there_is_stored_as_by_node(opts, node6, redis, connection):
    for who in ("node", "ours"):
        below = {"name": "c1", "queueName": f"{who}-line", "opts": {"jobId": "c1"}}
        tree = {"name": "up", "queueName": f"{who}-top", "opts": {"jobId": "up"}, "children": [below]}
        node6.ask("add_flow", tree=tree)

    for id in ("c2", "c1"):  # one that is new, one that is there
        parent = {"id": "up", "queue": "bull:node-top"}
        args = [id, {"n": 1}, {"jobId": id, "parent": parent, **opts}]
        node6.ask("call", queue="node-line", method="add", args=args)
        fn.Queue("ours-line").add(
            id, {"n": 1}, {"jobId": id, **opts}, parent=fn.Queue("ours-top").get_job("up")
        )

    assert dump(redis, "ours") == dump(redis, "node")


def test_a_parent_that_is_gone_and_a_second_one_are_refused_as_by_node(node6, redis, connection):
    for who in ("node", "ours"):
        for up in ("up-1", "up-2"):
            node6.ask("add_jobs", queue=f"{who}-top", jobs=[{"name": up, "data": {}, "opts": {"jobId": up}}])

    for parent, refusal, error in [
        ("gone", "Missing key for parent job", "parent ours-top:gone is not on this server"),
        ("up-1", None, None),
        ("up-2", "cannot be replaced", "job 'ours-line:c' is there, and has another parent already"),
    ]:
        node_args = ["c", {}, {"jobId": "c", "parent": {"id": parent, "queue": "bull:node-top"}}]
        if refusal is None:
            node6.ask("call", queue="node-line", method="add", args=node_args)
            fn.Queue("ours-line").add("c", opts={"jobId": "c"}, parent=f"ours-top:{parent}")
            continue
        with pytest.raises(PeerError, match=refusal):
            node6.ask("call", queue="node-line", method="add", args=node_args)
        with pytest.raises(fn.FlownbError, match=error):
            fn.Queue("ours-line").add("c", opts={"jobId": "c"}, parent=f"ours-top:{parent}")

    ours, theirs = dump(redis, "ours"), dump(redis, "node")
    assert (ours.pop("bull:line:id"), theirs.pop("bull:line:id")) == (
        (1, False),
        (2, False),
    )  # Node counts refusals
    assert ours == theirs


def test_a_job_added_below_a_job_of_a_flow_belongs_to_it(redis, connection):
    flow = fn.add({"name": "top", "queueName": "tops", "children": [{"name": "a", "queueName": "q"}]})

    fn.Queue("q").add("b", parent=flow.job)

    assert flow.progress().total == 3
    with (
        fn.Worker("q", lambda job: job.name),
        fn.Worker("tops", lambda job: sorted(job.get_children_values().values())),
    ):
        assert flow.result(timeout=30) == ["a", "b"]
    assert flow.progress().completed == 3


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"deduplication": "d"}, "deduplication: a dict such as"),
        ({"deduplication": {"ttl": 5}}, "'id' is missing"),
        ({"deduplication": {"id": "d", "tl": 5}}, "no such part 'tl'"),
        ({"deduplication": {"id": ""}}, "a text of 1 to 256 characters"),
        ({"deduplication": {"id": "d", "ttl": -1}}, "not between 0 and ten years"),
        ({"deduplication": {"id": "d"}, "parent": "q:a"}, "takes one of them"),
        ({"deduplication": {"id": "d", "ttl": 0.2}}, "ttl: 0.2 is less than a millisecond; seconds are text"),
        ({"deduplication": {"id": "d", "ttl": "0.5ms"}}, "ttl: '0.5ms' is less than a millisecond"),
        (
            {"deduplication": {"id": "d", "keepLastIfActive": True, "keep_last_if_active": False}},
            "keepLastIfActive: given twice, as keepLastIfActive and keep_last_if_active",
        ),
        (
            {"deduplication": {"id": "d"}, "opts": {"deduplication": {"id": "e"}}},
            "deduplication: given twice, as an argument and in opts",
        ),
        ({"parent": "q:a", "opts": {"parent": "q:b"}}, "parent: given twice, as an argument and in opts"),
        ({"deduplication": object()}, "a dict such as {'id': 'ada', 'ttl': 5000}, not an object"),
        ({"parent": 5}, "a Job, 'queue:id' or BullMQ's"),
        ({"parent": {"id": "a"}}, "a Job, 'queue:id' or BullMQ's"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_write(given, refusal, redis, connection):
    with pytest.raises(fn.OptionError, match=refusal):
        fn.Queue("q").add("mail", **given)
    assert json.dumps([key.decode() for key in redis.keys("bull:q:*")]) == "[]"
