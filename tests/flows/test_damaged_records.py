"""Shows that doctor() and flows() survive any one damaged record: it is a row of its own, and the others stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import flownb as fn
from flownb.diagnosis import checkup
from flownb.errors import JobMissing
from tests.support.damage import TEXTS, of_another_type, with_text
from tests.support.script_bench import Bench


@pytest.fixture(autouse=True)
def _looks_without_a_pause(connection, monkeypatch):
    monkeypatch.setattr(checkup, "_PAUSE_SECONDS", 0.0)


def tree(name):
    """A flow with two levels of parents, each in queues of its own."""
    leaves = [
        {"name": f"row-{i}", "queueName": f"{name}-rows", "opts": {"jobId": f"{name}-row-{i}"}}
        for i in range(3)
    ]
    parts = {
        "name": "part",
        "queueName": f"{name}-parts",
        "opts": {"jobId": f"{name}-part"},
        "children": leaves,
    }
    return {
        "name": name,
        "queueName": f"{name}-totals",
        "opts": {"jobId": f"{name}-total"},
        "children": [parts],
    }


def stored_flows(redis):
    """Three flows: one has ended, one has failed, one waits; give the ids by name."""
    ended, failing, _ = (fn.add(tree(name), name=name) for name in ("ended", "failing", "waiting"))

    def run(job):
        if job.queue_name == "failing-rows":
            raise fn.UnrecoverableError("no")
        return 1

    queues = [f"{name}-{part}" for name in ("ended", "failing") for part in ("rows", "parts", "totals")]
    with fn.Worker(queues, run):
        ended.wait(timeout=30)
        with pytest.raises(fn.FlowFailed):
            failing.result(timeout=30)
    return {name.decode(): id.decode() for name, id in redis.hgetall("bull:flownb:names").items()}


def rows(frame):
    return [
        tuple(map(str, row)) for row in frame.drop(columns="age_s", errors="ignore").itertuples(index=False)
    ]


def about(name, id, frame):
    return [row for row in rows(frame) if any(word in " ".join(row) for word in (name, id))]


# What is damaged of the flow `waiting`: (key, field or None for the whole key, value).
DAMAGES = {
    "attempts that are no whole number": ("bull:waiting-rows:waiting-row-0", "ats", "1.5"),
    "a parent's key that is none": ("bull:waiting-rows:waiting-row-0", "parentKey", "x"),
    "a parent's key that is no text": (
        "bull:waiting-rows:waiting-row-0",
        "parentKey",
        b"bull:waiting-parts:\xff",
    ),
    "a record whose root is no text": ("bull:flownb:flow:{flow}", "root", b"bull:waiting-totals:\xff"),
    "a link nested too deep": ("bull:waiting-rows:waiting-row-0", "parent", "[" * 100_000),
    "a link cut short": ("bull:waiting-rows:waiting-row-0", "parent", '{"id":'),
    "groups cut short": ("bull:flownb:children:bull:waiting-totals:waiting-total", "groups", '[{"base":'),
    "groups that are none": (
        "bull:flownb:children:bull:waiting-parts:waiting-part",
        "groups",
        '[{"name":1}]',
    ),
    "children that cannot be unpacked": (
        "bull:flownb:children:bull:waiting-parts:waiting-part",
        "0",
        b"\x00\x01",
    ),
    "counts that are no numbers": ("bull:flownb:counts:{flow}", "waiting@bull:waiting-rows", "x"),
    "a record without a name": ("bull:flownb:flow:{flow}", "name", None),
    "a record without a root": ("bull:flownb:flow:{flow}", "root", None),
    "a record of another type": ("bull:flownb:flow:{flow}", None, "x"),
    "counts of another type": ("bull:flownb:counts:{flow}", None, "x"),
    "children of another type": ("bull:flownb:children:bull:waiting-parts:waiting-part", None, "x"),
    "a parent's values of another type": ("bull:waiting-parts:waiting-part:processed", None, "x"),
    "a queue's list of another type": ("bull:waiting-rows:wait", None, "x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_a_row_and_the_rest_of_the_table_is_there(redis, damage):
    flows = stored_flows(redis)
    assert fn.doctor().empty
    whole = fn.flows()
    key, field, value = DAMAGES[damage]
    key = key.format(flow=flows["waiting"])

    if field is None:
        redis.delete(key)
        redis.set(key, value)
    elif value is None:
        redis.hdel(key, field)
    else:
        redis.hset(key, field, value)

    found = fn.doctor()
    assert 1 <= len(about("waiting", flows["waiting"], found)) == len(found)
    assert found["what"].str.len().min() > 20
    assert found["fix"].str.len().min() > 10
    listed = fn.flows()
    assert len(listed) == 3
    for name in ("ended", "failing"):
        assert about(name, flows[name], listed) == about(name, flows[name], whole)


def test_counts_that_are_no_numbers_are_counted_again(redis):
    flows = stored_flows(redis)
    redis.hset(f"bull:flownb:counts:{flows['waiting']}", "waiting@bull:waiting-rows", "x")

    assert fn.doctor(fix=True)["fix"].str.startswith("mended").all()

    assert fn.doctor().empty
    assert fn.attach("waiting").progress().counts.by_stage["waiting-rows"] == {"waiting": 3}


def test_a_flow_whose_id_is_no_text_is_a_row(redis):
    flows = stored_flows(redis)
    redis.zadd("bull:flownb:flows", {b"\xff\xfe": time.time() * 1000})

    assert len(fn.doctor()) == 1
    assert {*flows} == {*fn.flows()["name"]}


def test_a_child_whose_key_is_no_text_is_a_row_and_is_given_up_when_asked(redis):
    flows = stored_flows(redis)
    redis.sadd("bull:waiting-parts:waiting-part:dependencies", b"bull:waiting-rows:\xff")

    assert "which is gone" in fn.doctor()["what"].item()
    assert {*flows} == {*fn.flows()["name"]}
    assert fn.doctor(fix=True)["fix"].str.startswith("mended").all()
    assert fn.doctor().empty


def test_an_index_of_flows_that_is_none_is_a_row(redis):
    stored_flows(redis)
    redis.delete("bull:flownb:flows")
    redis.set("bull:flownb:flows", "x")

    assert "bull:flownb:flows" in fn.doctor()["what"][0]
    assert "bull:flownb:flows" in fn.flows()["why"][0]


def test_a_list_of_children_that_unpacks_to_far_too_much_is_not_unpacked(redis):
    import zlib

    flows = stored_flows(redis)
    blob = zlib.compress(b" " * 600_000_000, 1)
    redis.hset("bull:flownb:children:bull:waiting-parts:waiting-part", "0", blob)

    began = time.process_time()
    assert len(fn.doctor()) >= 1
    assert len(fn.flows()) == len(flows)
    assert time.process_time() - began < 5


def test_whatever_one_record_is_damaged_in_the_rows_of_other_flows_stay(redis):
    flows = stored_flows(redis)
    bench = Bench(redis)
    redis.delete(*redis.keys("*:stalled-check"))  # it runs out, and a dump does not
    whole, stored = fn.flows(), bench.dump()
    mine = [key for key in sorted(stored) if "waiting-" in key or key.endswith(flows["waiting"])]

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(key=st.sampled_from(mine), word=st.sampled_from((None, *TEXTS)), at=st.integers(0, 20))
    def check(key, word, at):
        redis.delete(*redis.keys("*"))
        for name, value in stored.items():
            redis.restore(name, 0, value, replace=True)
        if word is None:
            of_another_type(bench, key)
        else:
            with_text(bench, key, at, word)
        found = fn.doctor()
        listed = fn.flows()
        for name in ("ended", "failing"):
            assert about(name, flows[name], found) == []
            assert about(name, flows[name], listed) == about(name, flows[name], whole)

    check()


def test_what_is_no_job_is_not_attached_to(redis):
    stored_flows(redis)

    with pytest.raises(JobMissing, match="job waiting-rows:events is not on this server"):
        fn.attach("waiting-rows:events")


def test_attributes_of_a_job_whose_json_is_nested_too_deep_say_so(redis):
    job = fn.Queue("q").add("deep")
    redis.hset(f"bull:q:{job.id}", mapping={"data": "[" * 200_000, "progress": "[" * 200_000})
    found = fn.Queue("q").get_job(job.id)

    for attribute in ("data", "progress"):
        with pytest.raises(fn.FlowError, match="nested too deep"):
            getattr(found, attribute)
