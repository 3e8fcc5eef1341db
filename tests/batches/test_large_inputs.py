"""Shows that a row's large input is stored once, beside the flow, and that whoever reads the row gets it whole."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.batches import rows as rows_in
from flownb.wire.store import large_inputs

LOOKUP = {f"key {i}": "x" * 100 for i in range(9_000)}  # a megabyte
MB = len(json.dumps(LOOKUP))


@pytest.fixture(autouse=True)
def _nothing_remembered(connection, monkeypatch):
    monkeypatch.setattr(large_inputs, "_remembered", large_inputs.Remembered())


@pytest.fixture
def count():
    @fn.task
    def count(n, lookup):
        lookup["mine"] = n  # each call has its own
        return n + len(lookup)

    return count


def frame_of(rows, lookup=LOOKUP):
    return pd.DataFrame({"n": range(rows)}, index=[f"row {n}" for n in range(rows)]).assign(
        lookup=[lookup] * rows
    )


def memory_of_keys(redis):
    keys = redis.scan_iter("bull:*")
    return sum(redis.memory_usage(key, samples=0) or 0 for key in keys)  # 0: it went meanwhile


def input_keys(redis):
    return [key.decode() for key in redis.scan_iter("bull:flownb:inputs:*")]


@pytest.mark.parametrize("rows_per_job", [1, 20, "auto"])
def test_an_input_that_many_rows_share_is_stored_once(count, redis, rows_per_job):
    batch = fn.fan_out(frame_of(100), count, rows_per_job=rows_per_job)
    assert batch.results(timeout=60)["count"].tolist() == [n + 9_001 for n in range(100)]
    assert memory_of_keys(redis) < 2 * MB
    batch.remove()
    assert input_keys(redis) == []


def test_equal_inputs_of_a_text_column_are_stored_once_too(redis):
    @fn.task
    def length(text):
        return len(text)

    frame = pd.DataFrame({"text": [letter * MB for letter in "abab" * 5]})
    batch = fn.fan_out(frame, length)
    assert batch.results(timeout=60)["length"].tolist() == [MB] * 20
    assert memory_of_keys(redis) < 4 * MB


def test_the_data_refer_to_the_input_and_bind_says_where(count, redis):
    batch = fn.fan_out(frame_of(1), count, name="b")
    batch.wait(timeout=60)
    [job] = fn.Queue("count").get_jobs("completed")
    [key] = input_keys(redis)
    [(digest, text)] = redis.hgetall(key).items()
    assert key == f"bull:flownb:inputs:{batch._stored.id}"
    assert json.loads(text) == LOOKUP
    stored = redis.hgetall(f"bull:count:{job.id}")
    assert json.loads(stored[b"data"]) == {"n": 0, "lookup": {"flownb:large": digest.decode()}}
    assert json.loads(stored[b"bind"]) == {"large": [["lookup"]]}


def test_whoever_reads_a_row_gets_the_input_whole(count):
    @fn.task
    def sizes(rows):
        return rows["lookup"].map(len).sum()

    batch = fn.fan_out(frame_of(3), count, name="b", into=sizes).wait(timeout=60)
    assert batch.result() == 3 * 9_000
    assert [job.data["lookup"] for job in fn.Queue("count").get_jobs("completed")] == [LOOKUP] * 3
    assert fn.attach("b").table()["lookup"].tolist() == [LOOKUP] * 3
    assert fn.attach("b").debug("row 1") == 9_002


def test_a_task_that_takes_the_whole_row_gets_it_too(redis):
    @fn.task
    def width(row):
        return len(row["lookup"]) + row["n"]

    batch = fn.fan_out(frame_of(40), width, name="b", rows_per_job=20)
    assert batch.results(timeout=60)["width"].tolist() == [9_000 + n for n in range(40)]
    assert fn.attach("b").table()["lookup"].tolist() == [LOOKUP] * 40
    assert memory_of_keys(redis) < 2 * MB


def test_rows_of_an_iterator_refer_to_one_input(count, redis):
    rows = ({"n": n, "lookup": LOOKUP} for n in range(30))
    batch = fn.fan_out(rows, count, name="b")
    assert batch.results(timeout=60)["count"].tolist() == [n + 9_001 for n in range(30)]
    assert batch.table()["lookup"].tolist() == [LOOKUP] * 30
    assert memory_of_keys(redis) < 2 * MB


def test_rows_that_a_job_hands_on_take_their_reference_along(redis):
    @fn.task
    def slow(n, lookup):
        time.sleep(0.03)  # a job of "auto" hands on what does not fit into a tenth of a second
        return n + len(lookup)

    batch = fn.fan_out(frame_of(64 * 8), slow, name="b")
    assert batch.results(timeout=100)["slow"].tolist() == [n + 9_000 for n in range(64 * 8)]
    assert any("-1" in job.id for job in fn.Queue("slow").get_jobs("completed")), "some were handed on"
    assert memory_of_keys(redis) < 2 * MB


def test_rows_that_failed_have_their_input_when_they_run_again():
    mood = {1: KeyError("not yet"), 2: KeyError("not yet")}

    @fn.task
    def count(n, lookup):
        if n in mood:
            raise mood.pop(n)
        return n + len(lookup)

    batch = fn.fan_out(frame_of(4), count, name="b", rows_per_job=2).wait(timeout=60)
    assert list(batch.failures.index) == ["row 1", "row 2"]
    assert batch.retry(rows="row 1").results(60, failed="drop")["count"].tolist() == [9_000, 9_001, 9_003]
    again = fn.fan_out(frame_of(4), count, name="b", rows_per_job=2)
    assert again.results(timeout=60)["count"].tolist() == [9_000, 9_001, 9_002, 9_003]


@pytest.mark.parametrize("rows_per_job", [1, 2])
def test_rows_keep_their_input_when_the_batch_that_brought_it_is_removed(redis, rows_per_job):
    broken = {1}

    @fn.task
    def count(n, lookup):
        if n in broken:
            raise fn.UnrecoverableError("not yet")  # so that the same name again keeps the row
        return n + len(lookup)

    pilot = fn.fan_out(frame_of(2), count, name="b", rows_per_job=rows_per_job).wait(timeout=60)
    frame = frame_of(4)
    frame["lookup"] = [LOOKUP, LOOKUP, "x" * MB, "x" * MB]  # what only the pilot's rows have must be here too
    whole = fn.fan_out(frame, count, name="b", rows_per_job=rows_per_job).wait(timeout=60)
    assert len(input_keys(redis)) == 2
    pilot.remove()
    large_inputs._remembered.__init__()
    broken.clear()
    assert whole.retry().results(timeout=60)["count"].tolist() == [9_000, 9_001, MB + 2, MB + 3]
    whole.remove()
    assert input_keys(redis) == []


def test_the_same_inputs_again_run_nothing_and_another_input_runs_its_row(count, capsys):
    fn.fan_out(frame_of(3), count, name="b").wait(timeout=60)
    changed = frame_of(3)
    changed.at["row 1", "lookup"] = {**LOOKUP, "one": "more"}
    capsys.readouterr()
    batch = fn.fan_out(changed, count, name="b")
    assert "2 of 3 rows are there already, 1 run" in capsys.readouterr().out
    assert batch.results(timeout=60)["count"].tolist() == [9_001, 9_003, 9_003]


def test_a_dry_run_stores_no_input(count, redis):
    told = fn.fan_out(frame_of(3), count, dry_run=True)
    assert told["_would"].tolist() == ["run"] * 3
    assert redis.dbsize() == 0


def test_a_small_input_that_looks_like_a_reference_is_itself():
    @fn.task
    def sly(cell):
        return str(cell)

    cells = [{"flownb:large": "abcdefghijklmnop"}, {"flownb:large": 7}, {"other": {"flownb:large": 7}}]
    batch = fn.fan_out([{"cell": cell} for cell in cells], sly, name="b")
    assert batch.results(timeout=60)["sly"].tolist() == list(map(str, cells))
    assert fn.attach("b").table()["cell"].tolist() == cells


def test_functions_in_processes_get_the_input(redis):
    @fn.task
    def where(n, lookup):
        import os

        return {"pid": os.getpid(), "size": len(lookup)}

    with fn.workers(2, executor="processes"):
        results = fn.fan_out(frame_of(4), where).results(timeout=100)
    assert results["size"].tolist() == [9_000] * 4


def test_an_input_that_is_gone_is_named(redis):
    @fn.task
    def size(n, lookup=None):
        return n

    cells = [LOOKUP, None]
    batch = fn.fan_out([{"n": n, "lookup": cell} for n, cell in enumerate(cells)], size, rows_per_job=2)
    batch.wait(timeout=60)
    [key] = input_keys(redis)
    redis.delete(key)  # as nothing of flownb's does
    large_inputs._remembered.__init__()
    with pytest.raises(fn.JobMissing, match="a large input of this row is gone"):
        batch.debug(0)


def test_jobs_for_other_programs_hold_the_input_in_full(redis):
    batch = fn.fan_out(frame_of(2), "theirs")
    jobs = fn.Queue("theirs").get_jobs("waiting")
    assert [json.loads(redis.hget(f"bull:theirs:{job.id}", "data"))["lookup"] for job in jobs] == [LOOKUP] * 2
    assert input_keys(redis) == []
    batch.remove()


def test_too_many_copies_for_other_programs_are_refused_before_any_write(redis, monkeypatch):
    monkeypatch.setattr(rows_in, "MOST_COPIED_CHARACTERS", 10 * MB)
    with pytest.raises(
        fn.FlowError, match=r"column 'lookup': other programs read plain data, .* for 20 rows; .* path"
    ):
        fn.fan_out(frame_of(20), "theirs")
    assert redis.dbsize() == 0


def test_a_row_over_the_limit_is_named_also_where_its_cells_would_be_stored_beside_it(count, redis):
    frame = frame_of(3)
    frame.at["row 2", "lookup"] = "x" * 11_000_000
    with pytest.raises(fn.FlowError, match=r"row 'row 2': its data are 11\.0 MB of JSON, the most is 10 MB"):
        fn.fan_out(frame, count)
    assert redis.dbsize() == 0
