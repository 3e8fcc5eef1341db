"""A flow as a folder of files: whole or not there, and read by programs that know nothing of flownb."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import flownb as fn
from flownb.api import export
from flownb.batches import frame_kinds
from flownb.errors import FlowError

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def inverse():
    @fn.task
    def inverse(n, job):
        job.log(f"asked for {n}")
        return {"inverse": 1 / n}

    return inverse


@pytest.fixture
def flow():
    tree = {"name": "sum", "queueName": "sums", "data": {"of": "two"}}
    tree["children"] = [{"name": f"part {n}", "queueName": "parts", "data": n} for n in (2, 1, 3)]

    def part(job):
        job.log(f"part is {job.data}\nin two lines")
        return job.data * 2**60

    with fn.Worker("parts", part), fn.Worker("sums", lambda job: sum(job.get_children_values().values())):
        return fn.add(tree).wait(timeout=60)


def read(folder):
    return json.loads((folder / "tree.json").read_text(encoding="utf-8"))


def test_the_tree_has_every_job_with_its_value_and_children(flow, tmp_path):
    folder = flow.export(tmp_path / "made" / "here")
    assert folder == tmp_path / "made" / "here"
    assert sorted(file.name for file in folder.iterdir()) == ["logs.jsonl", "report.html", "tree.json"]
    found = read(folder)
    assert found["flow"]["name"] == "sum"
    assert found["flow"]["state"] == "completed"
    root, *parts = found["jobs"]
    assert found["flow"]["root"] == root["job"] == f"sums:{flow.job.id}"
    assert root["returnvalue"] == 6 * 2**60
    assert root["data"] == {"of": "two"}
    assert root["children"] == [part["job"] for part in parts]
    assert [part["data"] for part in parts] == [2, 1, 3]
    assert [part["children"] for part in parts] == [[]] * 3
    assert pd.Timestamp(root["finished_on"]) == flow.job.finished_on
    assert flow.to_html() == (folder / "report.html").read_text(encoding="utf-8")


def test_logs_stand_line_by_line_with_their_job(flow, tmp_path):
    folder = flow.export(tmp_path / "out")
    lines = [json.loads(line) for line in (folder / "logs.jsonl").read_text(encoding="utf-8").splitlines()]
    parts = read(folder)["jobs"][1:]
    assert lines == [
        {"job": part["job"], "stream": "log", "line": f"part is {part['data']}\nin two lines"}
        for part in parts
    ]


def test_a_flow_that_runs_is_written_as_it_is_now(tmp_path):
    flow = fn.add(
        {"name": "waits", "queueName": "nobody", "children": [{"name": "x", "queueName": "nobody"}]}
    )
    found = read(flow.export(tmp_path / "out"))
    assert [job["state"] for job in found["jobs"]] == ["waiting-children", "waiting"]
    assert found["flow"]["finished"] is None


def test_a_flow_of_bullmqs_is_written_too(tmp_path):
    tree = {
        "name": "sum",
        "queueName": "q",
        "children": [{"name": "a", "queueName": "q"}, {"name": "b", "queueName": "q"}],
    }
    flow = fn.FlowProducer().add(tree, semantics="bullmq")
    found = read(flow.export(tmp_path / "out"))
    assert sorted(job["name"] for job in found["jobs"]) == ["a", "b", "sum"]


def test_more_jobs_than_one_read_are_one_json_text(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "CHUNK_JOBS", 3)
    children = [{"name": str(n), "queueName": "nobody"} for n in range(10)]
    flow = fn.add({"name": "root", "queueName": "nobody", "children": children})
    assert [job["name"] for job in read(flow.export(tmp_path / "out"))["jobs"]] == [
        "root",
        *map(str, range(10)),
    ]


def test_a_job_that_was_removed_is_said_to_be(redis, tmp_path):
    flow = fn.add({"name": "sum", "queueName": "q", "children": [{"name": "a", "queueName": "q"}]})
    (child,) = [job["job"] for job in read(flow.export(tmp_path / "before"))["jobs"][1:]]
    redis.delete(f"bull:{child}")
    assert read(flow.export(tmp_path / "out"))["jobs"][1] == {"job": child, "state": "removed"}


# ---- batches --------------------------------------------------------------------------------------------


def test_a_batch_has_its_table_and_what_failed(inverse, tmp_path):
    frame = pd.DataFrame(
        {"n": [2, 0, 4], "other": ["a", "b", None]}, index=pd.Index(["x", "y", "z"], name="id")
    )
    batch = fn.fan_out(frame, inverse).wait(timeout=60)
    folder = batch.export(tmp_path / "out")
    rows = pl.read_parquet(folder / "rows.parquet")
    assert rows.columns == [
        "id",
        "n",
        "other",
        "inverse",
        "_state",
        "_error",
        "_attempts",
        "_seconds",
        "_version",
    ]
    assert rows["inverse"].to_list() == [0.5, None, 0.25]
    assert rows["other"].to_list() == ["a", "b", None]
    failures = pl.read_parquet(folder / "failures.parquet")
    assert failures["id"].to_list() == ["y"]
    assert failures["message"].to_list() == ["division by zero"]
    assert "ZeroDivisionError" in failures["traceback"][0]
    lines = [json.loads(line)["line"] for line in (folder / "logs.jsonl").read_text().splitlines()]
    assert sorted(lines) == ["asked for 0", "asked for 2", "asked for 4"]


def test_rows_without_labels_are_numbered_where_some_fail(inverse, tmp_path):
    folder = fn.fan_out(pl.DataFrame({"n": [2, 0]}), inverse).wait(timeout=60).export(tmp_path / "out")
    assert pl.read_parquet(folder / "failures.parquet")["row"].to_list() == [1]


def test_groups_stand_in_a_table_of_their_own(inverse, tmp_path):
    @fn.task
    def total(rows):
        return {"total": float(rows["inverse"].sum())}

    rows = pl.DataFrame({"n": [1, 2, 4], "k": ["a", "b", "a"]})
    batch = fn.fan_out(rows, inverse, by="k", into=total).wait(timeout=60)
    folder = batch.export(tmp_path / "out")
    assert_frame_equal(pl.read_parquet(folder / "groups.parquet"), batch.result())
    assert_frame_equal(pl.read_parquet(folder / "rows.parquet"), batch.table())
    assert not (folder / "failures.parquet").exists()


def test_columns_of_every_kind_are_written(tmp_path):
    @fn.task
    def whole(n):
        return {"nested": [{"a": n}], "mixed": n if n else "none"}

    frame = pd.DataFrame(
        {
            "n": [0, 1],
            "period": pd.period_range("2024-01", periods=2, freq="M"),
            "interval": pd.interval_range(0, 2),
            "objects": [{"a": 1}, "text"],
            "sets": [{1}, {2}],
            "times": pd.date_range("2024-01-01", periods=2, tz="Europe/Paris"),
            "category": pd.Categorical(["x", "y"]),
        },
        index=pd.Index([5, 6], name="n"),
    )
    folder = fn.fan_out(frame, whole).wait(timeout=60).export(tmp_path / "out")
    found = pd.read_parquet(folder / "rows.parquet")
    assert found["n_label"].tolist() == [5, 6]
    assert found["n"].tolist() == [0, 1]
    assert found["objects"].tolist() == ['{"a": 1}', '"text"']
    assert found["mixed"].tolist() == ['"none"', "1"]
    assert found["times"].dt.tz_convert("UTC").tolist() == frame["times"].dt.tz_convert("UTC").tolist()


READER = """
import json, sys
assert "flownb" not in sys.modules
import pandas as pd
rows = pd.read_parquet("out/rows.parquet")
tree = json.load(open("out/tree.json"))
print(rows["inverse"].tolist(), tree["flow"]["state"], "flownb" in sys.modules)
"""


def test_a_program_without_flownb_reads_it(inverse, tmp_path):
    fn.fan_out([{"n": 1}, {"n": 2}], inverse).wait(timeout=60).export("out")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", READER], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert run.stdout == "[1.0, 0.5] completed False\n", run.stderr


# ---- what is in the way ---------------------------------------------------------------------------------


def test_an_empty_folder_is_filled(flow, tmp_path):
    (tmp_path / "out").mkdir()
    assert (flow.export(str(tmp_path / "out")) / "tree.json").exists()


def test_nothing_that_is_there_is_overwritten(flow, tmp_path):
    flow.export(tmp_path / "out")
    with pytest.raises(FlowError, match="out holds files already; give a new folder, or an empty one"):
        flow.export(tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FlowError, match="file is a file; give a new folder"):
        flow.export(tmp_path / "file")
    with pytest.raises(FlowError, match="cannot be written"):
        flow.export(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(fn.OptionError, match="folder: the path of a file or folder, not 5"):
        flow.export(5)


def test_an_export_that_breaks_leaves_nothing(flow, monkeypatch, tmp_path):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(export, "write_flow", full)
    with pytest.raises(OSError, match="No space left"):
        flow.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_a_writer_of_parquet_nothing_is_written(inverse, monkeypatch, tmp_path):
    batch = fn.fan_out([1], inverse).wait(timeout=60)
    monkeypatch.setattr(frame_kinds.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(FlowError, match="neither is installed: pip install pyarrow"):
        batch.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
