"""getFlow: a tree read down to a depth, some children of each parent, by flownb and by Node."""

from __future__ import annotations

from typing import Any

import pytest

import flownb as fn


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


def names(tree: Any) -> Any:
    """The names in a tree; siblings in a set have no order."""
    if tree is None:
        return None
    below = tree.get("children")
    job = tree["job"]
    name = job.name if isinstance(job, fn.Job) else job
    return (name, None if below is None else sorted((names(child) for child in below), key=str))


def leaf(name, **opts):
    return {"name": name, "queueName": "ours-q", "opts": {"jobId": name, **opts}}


@pytest.fixture
def stored(connection, until):
    """A tree of four levels; of its leaves one has completed, one failed and is ignored, one is pending."""
    ended = [leaf("done", priority=1), leaf("bad", priority=2, ignoreDependencyOnFailure=True)]
    low = {**leaf("low"), "queueName": "ours-low", "children": [*ended, leaf("later", delay=600_000)]}
    mid = {**leaf("mid"), "queueName": "ours-mid", "children": [low]}
    fn.FlowProducer().add({**leaf("top"), "queueName": "ours-top", "children": [mid]}, semantics="bullmq")

    def work(job):
        return {"done": 1}[job.name]

    with fn.Worker("ours-q", work):
        until(lambda: fn.Queue("ours-low").get_job("low").get_dependencies_count()["unprocessed"] == 1)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 10])
def test_a_tree_is_read_as_deep_as_by_node(depth, node6, stored):
    theirs = node6.ask("tree", queue="ours-top", id="top", depth=depth, maxChildren=20)
    ours = fn.FlowProducer().get_flow("ours-top", "top", depth=depth)

    assert names(ours) == names(theirs)


def test_a_tree_that_is_gone_is_none_as_with_node(node6, connection):
    assert node6.ask("tree", queue="ours-top", id="gone", depth=3, maxChildren=20) is None
    assert fn.FlowProducer().get_flow("ours-top", "gone") is None


def test_of_each_kind_of_children_so_many_are_read(connection, until):
    children = [leaf(f"a{n}") for n in range(50)] + [leaf(f"b{n}", delay=600_000) for n in range(50)]
    fn.add({**leaf("top"), "queueName": "ours-top", "children": children})
    with fn.Worker("ours-q", lambda job: 1):
        until(lambda: fn.Queue("ours-top").get_job("top").get_dependencies_count()["processed"] == 50)

    found = fn.FlowProducer().get_flow("ours-top", "top", max_children=3)

    below = [node["job"].name[0] for node in found["children"]]
    assert below == ["a"] * 3 + ["b"] * 3
