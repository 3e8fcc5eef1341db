"""Shows that what does not fit is refused in one line: what, where, how to mend it; and that nothing is stored then."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
import time

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from tests.input.hostile_calls import closed
from tests.input.hostile_values import OddText, Told, Untouchable

TREE = {"name": "root", "queueName": "q"}


@pytest.fixture
def refuse(redis):
    """Call what must be refused; give the message."""

    def call(function, *args, error=fn.FlownbError, **kwargs):
        before = redis.info("persistence")["rdb_changes_since_last_save"]
        with pytest.raises(error) as refusal:
            function(*args, **kwargs)
        message = str(refusal.value)
        assert message.isprintable()
        assert 0 < len(message) <= 500
        assert "hunter2" not in message
        assert redis.info("persistence")["rdb_changes_since_last_save"] == before
        return message

    return call


def node_with(**parts):
    return TREE | {"children": [{"name": "ok", "queueName": "q"}, {"name": "leaf", "queueName": "q"} | parts]}


# ---- values without a truth, an order or a hash -------------------------------------------------------------

AMBIGUOUS = [
    np.array([1, 2]),
    pd.Series([1, 2]),
    pd.DataFrame({"a": [1, 2]}),
    pd.NA,
    pd.NaT,
    Untouchable(),
    Told(),
]


@pytest.mark.parametrize("given", AMBIGUOUS, ids=lambda given: type(given).__name__)
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("semantics", "semantics: 'flownb' or 'bullmq', not a"),
        ("if_exists", "if_exists: 'reuse', 'rerun' or 'error', not a"),
        ("on_failure", "on_failure: 'cancel' or 'finish', not a"),
        ("queues_options", "queues_options: a dict by queue, not "),
        ("name", "name must be text, not "),
    ],
)
def test_an_option_of_add(refuse, option, given, says):
    message = refuse(fn.add, TREE, **{option: given})
    assert message.startswith(says)


@pytest.mark.parametrize("given", AMBIGUOUS, ids=lambda given: type(given).__name__)
def test_parts_of_a_node(refuse, given):
    for part, says in {
        "name": "name must be text, not",
        "queueName": "queueName must be text, not",
        "opts": "opts is a dict, not",
        "children": "children is a list of nodes, not|a node is a dict or a Node, not",
        "prefix": "prefix must be a non-empty text",
    }.items():
        tree = node_with(**{part: given})
        assert re.match(rf"root/children\[1\].*: .*({says})", refuse(fn.add, tree))
    for option in (
        "attempts",
        "backoff",
        "delay",
        "lifo",
        "jobId",
        "removeOnComplete",
        "failParentOnFailure",
    ):
        message = refuse(fn.add, node_with(opts={option: given}), error=fn.OptionError)
        assert message.startswith(f"root/children[1]: opts.{option}: ")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fn.Worker(None, print), "queues: a queue's name, or a list of them, not None"),
        (lambda: fn.Worker(np.array(3), print), "queues: a queue's name, or a list of them, not a"),
        (lambda: fn.Worker({"q": 1}, print), "queues: a queue's name, or a list of them, not a dict"),
        (
            lambda: fn.Worker(pd.DataFrame({"q": [1]}), print),
            "queues: a queue's name, or a list of them, not a DataFrame",
        ),
        (lambda: fn.Worker([["q"]], print), "queue a list of 1: the name must be text, not list"),
        (lambda: fn.Worker("q", print, name="a\nb"), "name: a worker's must not hold control characters"),
        (lambda: fn.Worker("q", print, name=5), "name: a worker's must be text, not int"),
        (lambda: fn.Worker("q", print, executor=pd.DataFrame()), "executor: 'threads', 'processes' or a"),
        (
            lambda: fn.Worker("q", print, concurrency=np.array([4])),
            "concurrency: a whole number from 1 to 5000",
        ),
        (lambda: fn.Worker("q", print, limiter={"max": pd.NA, "duration": 1}), "limiter.max: a whole number"),
        (lambda: fn.Worker("q", print).close(grace="soon"), "grace: 'soon' is no duration"),
        (lambda: fn.Queue(None), "queue None: the name must be text, not NoneType"),
        (lambda: fn.Queue("q").get_jobs(pd.Series([1])), "state: 'waiting', "),
        (lambda: fn.Queue("q").get_jobs(5), "state: one of BullMQ's states, or a list of them, not 5"),
        (lambda: fn.Queue("q").get_jobs("waiting", "0"), "start: a whole number from -9007199254740992"),
        (lambda: fn.Queue("q").get_job(7), "id: a text, not 7"),
        (lambda: fn.Queue("q").add_bulk(5), "add_bulk takes a list of jobs, not 5"),
        (
            lambda: fn.Queue("q").add_bulk([{"name": "n", "prefix": "x"}]),
            "jobs[0]: a job stands under its queue's",
        ),
        (
            lambda: fn.Queue("q").add("n", opts={"parent": {"id": "gone"}}),
            "jobs[0]: opts.parent: a Job, 'queue:id' or BullMQ's",
        ),
        (lambda: fn.QueueEvents("q", last_event_id=pd.NA), "last_event_id: '$', '0' or an event's id, not a"),
        (lambda: fn.flows(limit=pd.Series([1])), "limit: a whole number from 1"),
        (lambda: fn.flows(state=np.array(["a", "b"])), "state: 'waiting', "),
        (lambda: fn.doctor("q", fix="yes"), "fix: True or False, not 'yes'"),
        (lambda: fn.attach(""), "name: a text, not an empty one"),
        (lambda: fn.Flow(5), "flow: a text, not 5"),
        (
            lambda: fn.task(queue=pd.NA)(lambda x: x),
            "task '<lambda>': queueName must be text, not NAType; give queue=",
        ),
        (
            lambda: fn.task(version=pd.Series([1]))(test_names),
            "task test_names.version: text or a whole number",
        ),
        (
            lambda: fn.task(retry_on=pd.DataFrame())(test_names),
            "task test_names.retry_on: classes of exceptions",
        ),
        (lambda: fn.chain("load"), "chain: a step is a task or a node, not str"),
        (lambda: fn.Connection(read_only="no"), "read_only: True or False, not 'no'"),
        (lambda: fn.Connection(path="a\0b"), "path: 'a\\x00b' holds a zero or half a character"),
        (lambda: fn.Connection(path=3), "path: the path of a file or folder, not 3"),
        (lambda: fn.Connection(prefix="x" * 257), "prefix must have at most 256 characters"),
    ],
)
def test_names(refuse, call, says):
    assert refuse(call).startswith(says)


def test_rows_and_what_is_asked_of_a_batch(refuse):
    @fn.task
    def double(x):
        return 2 * x

    frame = pd.DataFrame({"x": [1, 2]}, index=["a", "b"])
    for given in (np.array([1, 2]), pd.Series([1]), pd.NA, Untouchable()):
        for option in ("name", "if_exists", "dry_run", "rows_per_job", "limiter", "attempts", "timeout"):
            message = refuse(fn.fan_out, frame, double, **{option: given})
            assert re.match(rf"(fan_out\.)?{option}", message), message
        assert refuse(fn.fan_out, frame, double, into=given)
        assert refuse(fn.fan_out, frame, given).startswith("task: ")
    batch = fn.fan_out(frame, double)
    assert "failed: 'missing', 'drop' or 'raise', not a list of 1" in refuse(batch.results, failed=["drop"])
    assert "error: one error's name, kind or class" in refuse(lambda: batch.retry(error=frame))
    assert "there is no row a DataFrame" in refuse(batch.debug, frame)
    assert "there is no row a number of 5,001 digits" in refuse(batch.debug, 10**5000)
    assert "path: the path of a file or folder, not 1" in refuse(batch.to_html, 1)


# ---- numpy's scalars are numbers ----------------------------------------------------------------------------


def test_numpys_numbers_and_flags_are_taken_where_pythons_are():
    opts = {
        "attempts": np.int64(3),
        "priority": np.uint8(2),
        "delay": np.float64(1500),
        "timeout": np.float32(2500),
        "lifo": np.bool_(True),
        "removeOnFail": np.bool_(False),
        "backoff": {"type": "fixed", "delay": np.int32(10), "jitter": np.float32(0.5)},
        "failParentOnFailure": np.bool_(True),
    }
    job = fn.Queue("q").add("n", opts=opts)
    assert job.opts == {
        "attempts": 3,
        "priority": 2,
        "delay": 1500,
        "timeout": 2500,
        "lifo": True,
        "removeOnFail": False,
        "backoff": {"type": "fixed", "delay": 10, "jitter": 0.5},
        "fpof": True,
    }
    flow = fn.add({**TREE, "opts": {"removeOnComplete": np.int64(5), "removeOnFail": {"age": np.int64(60)}}})
    assert flow.state == "waiting"
    worker = fn.Worker(
        "q", print, concurrency=np.int64(2), lock_duration=np.float64(20), max_stalled_count=np.uint8(1)
    )
    assert worker.concurrency == 2
    assert len(fn.Queue("q").get_jobs("delayed", np.int64(0), np.int32(5))) == 1
    assert len(fn.flows(limit=np.int64(5))) == 1
    assert fn.doctor("q", fix=np.bool_(False)).empty
    assert fn.fan_out([1], "elsewhere", attempts=np.int64(2), rows_per_job=np.int64(1)).job.name


def test_a_span_of_numpys_is_no_number(refuse):
    for given in (np.timedelta64(1, "s"), np.datetime64("2024-01-01")):
        assert "a whole number from 0 to 1000, not a" in refuse(fn.add, {**TREE, "opts": {"attempts": given}})
        assert "a duration is a number, a timedelta or text" in refuse(
            fn.add, {**TREE, "opts": {"delay": given}}
        )


def test_texts_of_a_class_of_their_own_are_their_text(redis):
    class Name(str, enum.Enum):  # noqa: UP042 - its text is another than its value
        LOADS = "loads"
        FIRST = "first"

    flow = fn.add(
        {"name": Name.FIRST, "queueName": Name.LOADS, "opts": {"jobId": Name.FIRST}}, name=Name.FIRST
    )
    assert (flow.name, flow.job.name, flow.job.queue_name, flow.job.id) == (
        "first",
        "first",
        "loads",
        "first",
    )
    assert redis.exists("bull:loads:first")
    assert fn.Queue(Name.LOADS).get_job(Name.FIRST).name == "first"
    assert list(fn.flows(queue=Name.LOADS)["name"]) == ["first"]
    assert fn.attach(Name.FIRST).job.id == "first"
    assert repr(fn.Worker(Name.LOADS, print)) == "Worker('loads', concurrency=1, not running)"


def test_texts_whose_own_methods_raise_are_their_text_too(refuse):
    @fn.task
    def double(n):
        return 2 * n

    keyed = fn.fan_out([{"id": "a", "n": 1}], double, key=OddText("id"), dry_run=True)
    assert (keyed.index.name, list(keyed.index)) == ("id", ["a"])
    assert fn.task(version=OddText("7"))(double.function).version == "7"
    assert refuse(fn.fan_out, OddText("rows.csv"), double, name="n").startswith(
        "rows: there is no file rows.csv"
    )
    assert refuse(fn.Queue("q").add, "x", parent=OddText("q:17")).startswith(
        "parent q:17 is not on this server"
    )
    parent = {"id": OddText("17"), "queue": OddText("bull:q")}
    assert refuse(fn.Queue("q").add, "x", parent=parent).startswith("parent q:17 is not on this server")


@pytest.mark.parametrize("given", AMBIGUOUS, ids=lambda given: type(given).__name__)
def test_what_cannot_be_called_is_not_called_when_the_connection_closes(refuse, connection, given):
    assert refuse(connection.on_close, given).startswith("callback: a function without arguments, not ")


# ---- the place inside the data ------------------------------------------------------------------------------


@dataclasses.dataclass
class Order:
    lines: object


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"a": [1, {"b": b"x"}]}, r"data\.a\[1\]\.b: a bytes is not JSON; use base64"),
        ({"a": {"b": ({1j},)}}, r"data\.a\.b\[0\]\[0\]: a complex is not JSON; pass text"),
        ({"a": [0, pd.NaT]}, r"data\.a\[1\]: NaN and infinity are not JSON; use None"),
        ([{"x": 1}, {"x": float("inf")}], r"data\[1\]\.x: NaN and infinity are not JSON"),
        ({"o": Order([1, object()])}, r"data\.o\.lines\[1\]: an object is not JSON"),
        ({"t": ["ok", "\ud800"]}, r"data\.t\[1\]: holds text that is not Unicode"),
        ({"t": {"half \ud800": 1}}, r"data\.t, its key 'half \\ud800': holds text that is not Unicode"),
        (
            {"n": [10**5000]},
            r"data\.n\[0\]: a whole number of so many digits is not read as JSON; pass it as text",
        ),
        ({"n": [Untouchable()]}, r"data\.n\[0\]: an Untouchable is not JSON"),
        ({"n": {Told: 1}}, r"data\.n: the key a type is type, JSON keys are text"),
        ({"x" * 1000: 1j}, r"data\.x{40}: a complex is not JSON"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_the_place_inside_the_data_is_named(refuse, data, says):
    assert re.match(rf"root/children\[1\]: {says}", refuse(fn.add, node_with(data=data)))
    job = fn.Queue("q").add("n")
    assert re.match(says.replace("data", "progress", 1), refuse(job.update_progress, data))


def test_large_text_is_refused_before_it_is_written_as_json(refuse):
    large = "x" * 600_000_000
    for data in (large, {"a": [large]}, {"a": [large[:9_000_000]] * 60}, np.zeros(300_000_000, dtype="i1")):
        began = time.process_time()
        message = refuse(fn.add, node_with(data=data))
        assert time.process_time() - began < 1
        assert re.match(
            r"root/children\[1\]: data: at least \d{3},\d{3},\d{3} bytes of JSON, more than", message
        )
        assert "store it in a file and pass its path" in message


# ---- messages -----------------------------------------------------------------------------------------------


def test_what_was_given_is_not_echoed(refuse):
    secret = "hunter2 " * 10
    for given in ([secret], {"a": secret}, Told(), secret.encode(), {secret}):
        refuse(fn.add, {**TREE, "opts": {"attempts": given}})
        refuse(fn.add, {**TREE, "data": {"x": [given, object()]}})
        refuse(fn.Worker, "q", print, limiter=given)
        refuse(fn.add, TREE, queues_options={"q": given})
    message = refuse(fn.add, {**TREE, "opts": {"attempts": "x" * 1_000_000}})
    assert message == f"root: opts.attempts: a whole number from 0 to 1000, not '{'x' * 57}...'"


def test_a_long_path_leaves_the_place_and_the_remedy(refuse):
    tree = {"name": "leaf", "queueName": "q", "data": {"x": 1j}}
    for _ in range(100):
        tree = {"name": "n", "queueName": "q", "children": [tree]}
    message = refuse(fn.add, tree)
    assert message.startswith("root/children[0]/children[0]")
    assert message.endswith("data.x: a complex is not JSON; pass text, numbers, lists or dicts")


def test_control_characters_are_spelled_out(refuse):
    for word in ("\x1b]0;owned\x07", "a\nb", "\u202egpj", "\x9b2J"):
        assert ascii(word)[1:-1] in refuse(fn.attach, word)
        assert ascii(word)[1:-1] in refuse(fn.add, {**TREE, "opts": {word: 1}})
        assert ascii(word)[1:-1] in refuse(fn.add, {**TREE, "opts": {"delay": word}})


def test_a_name_is_refused_before_what_is_there_is_removed(refuse):
    tree = {**TREE, "opts": {"jobId": "november"}}
    fn.add(tree)
    assert (
        refuse(fn.add, tree, name="a\nb", if_exists="rerun")
        == "name must not hold control characters or lone surrogates"
    )
    assert fn.attach("q:november").state == "waiting"


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan"), pd.NaT, True, 10**400, datetime.timedelta(-1)])
def test_times_that_cannot_be_waited_for(refuse, timeout):
    flow = fn.add(TREE)
    for wait in (flow.wait, flow.result):
        assert refuse(wait, timeout=timeout, error=fn.OptionError).startswith("timeout: ")


def test_a_client_of_another_kind_is_told(refuse):
    for given in (5, object(), pd.DataFrame(), Untouchable()):
        assert "pass a URL or a redis.Redis client" in refuse(
            lambda given=given: closed(fn.Connection(given))
        )
        assert "connection: make one first" in refuse(fn.Queue, "q", connection=given)


@pytest.mark.parametrize("given", [datetime, (n for n in ()), 5, Told])
def test_what_is_no_function_is_no_task(refuse, given):
    assert refuse(fn.task, given, error=fn.OptionError).startswith("a task is a named function, not ")
