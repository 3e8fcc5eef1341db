"""Shows that every bad tree is refused by its path, what is wrong and how to mend it, before anything is written."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import re

import numpy as np
import pandas as pd
import pytest

import flownb as fn


def under_root(node):
    return {"name": "root", "queueName": "q", "children": [{"name": "ok", "queueName": "q"}, node]}


def leaf(**parts):
    return {"name": "leaf", "queueName": "q", **parts}


def refuse(tree, error=fn.FlowError, path=r"root/children\[1\]", **arguments):
    """Add the tree, which must be refused; give the message."""
    client = fn.connection.current().client()
    before = client.dbsize()
    with pytest.raises(error) as refusal:
        fn.FlowProducer().add(tree, **arguments)
    assert re.match(path, str(refusal.value)), str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert client.dbsize() == before
    return str(refusal.value)


circle: list[object] = []
circle.append(circle)
deep: list[object] = []
for _ in range(2000):
    deep = [deep]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "NaN and infinity are not JSON; use None"),
        (math.inf, "NaN and infinity are not JSON; use None"),
        (-math.inf, "NaN and infinity are not JSON; use None"),
        (np.float64("nan"), "use None"),
        (pd.NaT, "use None"),
        (b"x", "bytes is not JSON; use base64 text, or store it in a file"),
        (bytearray(b"x"), "base64"),
        (memoryview(b"x"), "memoryview is not JSON"),
        ({1j}, "complex is not JSON"),
        (1j, "complex is not JSON"),
        (object(), "object is not JSON; pass text, numbers, lists or dicts"),
        (pd.DataFrame({"a": [1]}), "DataFrame is not JSON; use .to_dict.*, fan out over its rows"),
        (circle, "in a circle|holds itself"),
        (deep, "nested more than 500 levels"),
        ({1: 2}, "the key 1 is int, JSON keys are text; use str"),
        ({1: 2, "1": 3}, "JSON keys are text"),
        ({None: 2}, "the key None is NoneType"),
        ({(1, 2): 2}, "is tuple"),
        ("\ud800", "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        (
            "x" * 10_000_001,
            r"10,000,0\d\d bytes of JSON, more than the 10,000,000 allowed; store it in a file",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_data_that_json_cannot_hold(value, says):
    for data in (value, {"x": value}):
        assert re.search(says, refuse(under_root(leaf(data=data))))


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ("text", "text"),
        ([1, 2.5, True, None], [1, 2.5, True, None]),
        (7, 7),
        (2**53 + 1, 2**53 + 1),
        (decimal.Decimal("1.10"), "1.10"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Point(3), {"x": 3}),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3), "2024-02-29T01:02:03"),
        (datetime.timedelta(minutes=1), 60.0),
        (pd.Timestamp("2024-02-29"), "2024-02-29T00:00:00"),
        (np.int64(7), 7),
        (np.arange(3), [0, 1, 2]),
        ({"é": "😀\u202e\0"}, {"é": "😀\u202e\0"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_that_has_a_json_form_arrives_in_it(value, stored):
    flow = fn.add({"name": "root", "queueName": "q", "data": {"x": value}})
    assert flow.job.data == {"x": stored}
    if isinstance(value, (str, int, list, type(None))):
        assert fn.add({"name": "root", "queueName": "q", "data": value}).job.data == stored


@pytest.mark.parametrize("name", ["", None, 5, "x" * 257, "a\0b", "a\nb", "\x1b[31m", "a\u202eb", ["a"]])
def test_names(name):
    message = refuse(under_root(leaf(name=name)))
    assert re.search(
        r"name must (have 1 to 256 characters|not hold control characters|be text, not \w+)", message
    )


def test_a_name_with_markup_is_stored_as_it_is():
    flow = fn.add({"name": "<script>alert(1)</script>", "queueName": "q"})
    assert flow.job.name == "<script>alert(1)</script>"


RESERVED = (
    "wait active paused delayed prioritized completed failed waiting-children stalled stalled-check limiter meta events "
    "marker id pc de repeat lock"
)


@pytest.mark.parametrize("job_id", ["a:b", "a:b:c", "0:x"])
def test_ids_with_a_colon(job_id):
    assert "opts.jobId must not hold a colon" in refuse(under_root(leaf(opts={"jobId": job_id})))


@pytest.mark.parametrize("job_id", RESERVED.split())
def test_ids_that_are_names_of_the_queues_own_keys(job_id):
    assert "name of one of the queue's own keys" in refuse(under_root(leaf(opts={"jobId": job_id})))


@pytest.mark.parametrize(
    ("job_id", "error", "says"),
    [
        ("123", fn.FlowError, "bare number"),
        ("0", fn.FlowError, "bare number"),
        (7, fn.OptionError, "opts.jobId: text, not int"),
        ("", fn.FlowError, "1 to 256 bytes"),
        ("x" * 257, fn.FlowError, "1 to 256 bytes"),
        ("é" * 129, fn.FlowError, "1 to 256 bytes"),
        ("a\nb", fn.FlowError, "control characters"),
    ],
)
def test_other_ids(job_id, error, says):
    assert says in refuse(under_root(leaf(opts={"jobId": job_id})), error)


@pytest.mark.parametrize("job_id", [None, "with spaces", "emoji-😀", "x" * 256])
def test_good_ids(job_id):
    flow = fn.add({"name": "root", "queueName": "q", "opts": {"jobId": job_id}})
    assert flow.job.id == job_id or job_id is None


@pytest.mark.parametrize(
    "children",
    [{"name": "a", "queueName": "q"}, "children", b"children", 5, fn.Node("a", "q"), object()],
    ids=lambda value: type(value).__name__,
)
def test_children_that_are_no_list(children):
    message = refuse(under_root(leaf(children=children)))
    assert message.startswith("root/children[1]: children is a list of nodes, not ")


@pytest.mark.parametrize("child", ["a", 5, None, [], b"x"], ids=repr)
def test_a_child_that_is_no_node(child):
    message = refuse(
        under_root(leaf(children=[child])), path=r"root/children\[1\]/children\[0\]: a node is a dict"
    )
    assert type(child).__name__ in message


def test_a_generator_of_children_is_taken_once_and_none_means_no_children():
    flow = fn.add(leaf(children=(leaf(name=f"n{i}", children=None) for i in range(3))))
    assert list(flow.jobs()["name"]) == ["leaf", "n0", "n1", "n2"]
    assert fn.add(leaf(children=[])).state == "waiting"


@pytest.mark.parametrize("queue", ["", None, "a:b", "a*", "x" * 257, " a", "a ", "a\nb", "{a}", "flownb", 5])
def test_queue_names(queue):
    assert "queueName must " in refuse(under_root(leaf(queueName=queue))) or queue == "flownb"


@pytest.mark.parametrize("prefix", ["a{b", "a b", "a*", "{a}{b}", 5, "a\nb"])
def test_prefixes(prefix):
    assert "prefix" in refuse(under_root(leaf(prefix=prefix)), (fn.FlowError, fn.OptionError))


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"queueName": "q"}, "'name' is missing"),
        ({"name": "x"}, "'queueName' is missing"),
        ({"name": "x", "queue": "q"}, "a node has no 'queue'; did you mean 'queueName'"),
        ({"name": "x", "queueName": "q", "childs": []}, "did you mean 'children'"),
        ({"name": "x", "queueName": "q", 5: 1}, "a node has no 5"),
    ],
)
def test_keys_of_a_node(node, says):
    assert says in refuse(under_root(node))
