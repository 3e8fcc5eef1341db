"""Shows what a name means after rows were added under it: one batch is listed, found and removed, with its earlier ones."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.errors import JobMissing


@pytest.fixture
def square(connection):
    @fn.task
    def square(n):
        return n * n

    with fn.workers(2):
        yield square


def test_one_batch_of_a_name_is_listed_and_a_loop_removes_all(square, redis):
    for name in "grown", "other":
        for rows in [1], [1, 2], [1, 2, 3]:
            fn.fan_out(rows, square, name=name).wait(60)
    listed = fn.flows()
    assert (list(listed["name"]), list(listed["total"])) == (["other", "grown"], [4, 4])
    for name in fn.flows()["name"]:
        fn.attach(name).remove()
    assert fn.flows().empty
    assert not [key for key in redis.keys("*") if b":r" in key and b":flownb:" not in key]
    assert not redis.keys("*:flownb:flow:*")
    with pytest.raises(JobMissing):
        fn.attach("grown")


def test_rows_of_before_under_the_name_again_are_the_batch_of_the_name_and_the_rest_goes_with_it(
    square, redis
):
    small, large = [1, 2], [1, 2, 3]
    fn.fan_out(small, square, name="n").wait(60)
    fn.fan_out(large, square, name="n").wait(60)
    fn.fan_out(small, square, name="n").wait(60)
    assert list(fn.attach("n").results()["square"]) == [1, 4]
    fn.fan_out(large, square, name="n").wait(60)
    assert len(fn.flows()) == 1
    fn.attach("n").remove()
    assert fn.flows().empty
    assert not redis.keys("*:flownb:flow:*")
    assert not redis.exists("bull:flownb:rows:n")


def test_an_earlier_handle_removes_what_came_before_it_and_leaves_the_newest(square):
    batches = [fn.fan_out(list(range(n)), square, name="n").wait(60) for n in (1, 2, 3)]
    batches[1].remove()
    assert list(fn.attach("n").results()["square"]) == [0, 1, 4]
    fn.attach("n").remove()
    assert fn.flows().empty


def test_one_flow_of_a_name_is_current_the_older_ones_are_listed_as_such_and_go_with_it(connection, redis):
    for _ in range(3):
        fn.add({"name": "nightly", "queueName": "nobody"}, name="nightly")
    fn.add({"name": "nightly", "queueName": "nobody"})  # called so, but no flow of that name
    current = fn.attach("nightly").job.id
    assert fn.flows()["flow"].tolist()[1] == f"nobody:{current}"
    older = fn.flows(state="older")
    assert older["name"].tolist() == ["nightly", "nightly"]
    assert f"nobody:{current}" not in older["flow"].tolist()
    fn.attach(older["flow"][0]).remove()  # with the one before it
    assert fn.flows(state="older").empty
    fn.add({"name": "nightly", "queueName": "nobody"}, name="nightly")
    for name in fn.flows()["name"].drop_duplicates():
        fn.attach(name).remove()
    assert fn.flows()["total"].tolist() == [1]
    assert len(redis.keys("*:flownb:flow:*")) == 1
