"""Many-row jobs whose rows, and what these return, stand in files: the same answers, and a server that stays small."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flownb as fn
from flownb.errors import FlowError
from flownb.files.rows_in_files import SMALL_BYTES
from flownb.worker import run_rows

MOST_BYTES_A_ROW = 40  #: of the server's memory, with `files=`


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def bytes_on_server(redis) -> int:
    """Return what all keys take, without what queues keep however many rows there are."""
    return sum(redis.memory_usage(key, samples=0) for key in redis.scan_iter(count=1000))


def jobs_of(redis, queue: str) -> list[dict[bytes, bytes]]:
    keys = [
        key
        for key in redis.scan_iter(f"bull:{queue}:m*")
        if re.fullmatch(rb"[^:]+:[^:]+:m[a-z2-7]{16}.*", key)
    ]
    return [redis.hgetall(key) for key in keys if key.count(b":") == 2]


@pytest.fixture
def undelegated(monkeypatch):
    """No job delegates rows to smaller ones, as it would on a busy machine."""
    monkeypatch.setattr(run_rows, "SLICE_SECONDS", 600)


# ---- the server stays small ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_row_takes_forty_bytes_of_the_server_whatever_it_takes_and_returns(
    connection, redis, tmp_path, is_lazy, undelegated
):
    rows = 50_000
    frame = pd.DataFrame(
        {"id": range(rows), "n": range(rows), "text": [f"the text of row {n} " * 5 for n in range(rows)]}
    )

    @fn.task
    def told(n, text):
        return {"n": n, "said": text.upper(), **({"raw": bytes([n % 251])} if n % 5000 == 0 else {})}

    if is_lazy:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "rows.parquet")
    with fn.workers(4):
        given = tmp_path / "rows.parquet" if is_lazy else frame
        batch = fn.fan_out(given, told, key="id", name="large", files=tmp_path / "files", rows_per_job=500)
        batch.wait(timeout=300)
    assert batch.progress().completed == rows + 1
    assert bytes_on_server(redis) / rows < MOST_BYTES_A_ROW
    found = batch.results()
    assert found["said"].tolist() == frame["text"].str.upper().tolist()
    assert found["raw"].iloc[45_000].load() == bytes([45_000 % 251])
    assert found.index.tolist() == frame["id"].tolist()


def test_a_lazy_source_needs_no_folder_where_the_server_has_one(connection, redis, tmp_path, undelegated):
    pq.write_table(pa.table({"n": range(20_000)}), tmp_path / "rows.parquet")

    @fn.task
    def square(n):
        return n * n

    with fn.workers(4):
        batch = fn.fan_out(tmp_path / "rows.parquet", square, name="lazy", rows_per_job=500)
        assert batch.results(timeout=100)["square"].tolist() == [n * n for n in range(20_000)]
    assert bytes_on_server(redis) / 20_000 < MOST_BYTES_A_ROW
    names = names_in(connection.path / "files" / "bull" / "lazy")
    assert [name.split(".", 1)[1] == "rows.json" for name in names].count(True) == len(names) / 2 == 40
    assert fn.doctor().empty
    with pytest.raises(
        FlowError, match="theirs beside the server's data; leave files= out, give another name, or"
    ):
        fn.fan_out(tmp_path / "rows.parquet", square, name="lazy", files=tmp_path / "mine")
    batch.remove()
    assert names_in(connection.path / "files" / "bull") == []


def test_rows_for_another_programs_queue_stay_in_their_jobs(connection, redis, tmp_path):
    frame = pd.DataFrame({"text": ["x" * 100] * 40})
    fn.fan_out(frame, "theirs", files=tmp_path, name="plain", rows_per_job=20)
    assert [len(json.loads(job[b"data"])["rows"]) for job in jobs_of(redis, "theirs")] == [20, 20]
    assert names_in(tmp_path / "plain") == []


def test_few_rows_stay_in_their_job(connection, redis, tmp_path):
    @fn.task
    def short(n):
        return n

    with fn.workers(1):
        fn.fan_out(range(20), short, files=tmp_path, name="few", rows_per_job=20).wait(timeout=60)
    [job] = jobs_of(redis, "short")
    assert len(job[b"data"]) < SMALL_BYTES
    assert json.loads(job[b"returnvalue"])["values"] == list(range(20))
    assert names_in(tmp_path / "few") == []


# ---- the same answers as rows that stand in their jobs ------------------------------------------------------------------


FRAME = pd.DataFrame(
    {
        "n": range(120),
        "text": [f'row {n}: é😀 "quoted" {"x" * 20}' for n in range(120)],
        "lang": ["a", "b"] * 60,
    },
    index=pd.Index([f"r{n}" for n in range(120)], name="id"),
)


@pytest.fixture
def mood():
    """Give the rows that fail, and what they raise."""
    return {}


@pytest.fixture
def told(runs, mood):
    @fn.task(attempts=2)
    def told(n, text):
        runs.note(n)
        if n in mood:
            raise mood[n]
        return {"said": text, "twice": 2 * n, "raw": bytes([n]) if n % 10 == 0 else None}

    return told


@pytest.fixture
def batch(connection, place, told, mood):
    if place is None:
        place = str(connection.path.parent / "given")
    mood |= {7: KeyError("seven"), 77: ValueError("seventy-seven " * 20 + ".")}
    with fn.workers(3):
        yield fn.fan_out(FRAME, told, files=place, name="told", rows_per_job=40).wait(timeout=100)


def without_files(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(raw=[file.load() if isinstance(file, fn.File) else None for file in frame["raw"]])


@pytest.mark.parametrize("place", ["memory", "folder", "s3"], indirect=True)
def test_everything_that_reads_rows_finds_them_in_files(batch, redis, told, runs, mood, capsys, tmp_path):
    assert all(b'"flownb:file":"m' in job[b"data"] + job[b"returnvalue"] for job in jobs_of(redis, "told"))
    results = without_files(batch.results())
    done = FRAME[~FRAME["n"].isin(mood)]
    assert results["said"].dropna().tolist() == done["text"].tolist()
    assert results["raw"].dropna().tolist() == [bytes([n]) for n in done["n"] if n % 10 == 0]
    assert results["twice"].isna().sum() == 2
    # in a handle that has only the server
    there = fn.attach("told")
    table = there.table()
    assert table["text"].tolist() == FRAME["text"].tolist()
    assert table["_state"].value_counts().to_dict() == {"completed": 118, "failed": 2}
    assert table.loc["r7", ["_error", "_attempts"]].tolist() == ["KeyError: 'seven'", 2]
    assert there.failures["message"].tolist() == ["'seven'", "seventy-seven " * 20 + "."]
    row = there.row("r50")
    assert (row.inputs["text"], row.value["twice"], row.value["raw"].load()) == (
        FRAME["text"]["r50"],
        100,
        b"2",
    )
    assert there.debug("r3")["twice"] == 6
    there.export(tmp_path / "exported")
    assert len(pd.read_parquet(tmp_path / "exported" / "rows.parquet")) == 120
    # what is there is kept, a failed row runs again alone, and leaves nothing behind
    runs.fresh()
    mood.clear()
    there.retry(rows=["r7"]).wait(timeout=100)
    assert runs.fresh() == {7: 1}
    again = fn.fan_out(FRAME, told, files=there._stored.spec["files"], name="told", rows_per_job=40)
    assert again.results(timeout=100)["twice"].tolist() == [2 * n for n in range(120)]
    assert runs.fresh() == {77: 1}
    assert fn.doctor().empty
    jobs = fn.Queue("told").get_jobs("completed", 0, 50)
    assert {"n": 7, "text": FRAME["text"]["r7"]} in [
        row for job in jobs for row in job.data.get("rows", [job.data])
    ]
    values = [name for name in again._stored.rows._folder.sizes() if re.search(r"\.\d+\.json$", name)]
    assert len({name.rsplit(".", 2)[0] for name in values}) == len(values)  # of one run of each job
    again.remove(files=True)
    there.remove(files=True)
    assert again._stored.rows._folder.sizes() == {}


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_another_process_finds_them(batch, connection):
    code = f"import flownb as fn; fn.connect(path={str(connection.path)!r}); print(fn.attach('told').results()['said'].count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "118"


def test_aggregates_receive_them(connection, told, tmp_path):
    @fn.task
    def total(rows):
        return {"twice": int(rows["twice"].sum()), "text": rows["text"].str.len().sum()}

    with fn.workers(3):
        batch = fn.fan_out(FRAME, told, by="lang", into=total, files=tmp_path, name="by", rows_per_job=30)
        assert batch.results(timeout=100)["twice"].count() == 120
        sums = batch.result()["twice"]
    assert sums.sum() == 2 * sum(range(120))


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_rows_that_are_delegated_stay_in_their_jobs_file(connection, redis, tmp_path, executor):
    door = tmp_path / "open"

    @fn.task
    def slow(n, text):
        import time

        while n == 5 and not door.exists():
            time.sleep(0.01)
        return text

    with fn.workers(3, executor=executor):
        batch = fn.fan_out(FRAME, slow, files=tmp_path / "files", name="slow", rows_per_job=120)
        while batch.progress().completed < 100:  # those behind the one that holds on
            threading.Event().wait(0.02)
        assert fn.doctor().empty  # files of jobs at work are nobody's litter
        door.touch()
        assert batch.results(timeout=100)["slow"].tolist() == FRAME["text"].tolist()
    data = [json.loads(job[b"data"])["rows"] for job in jobs_of(redis, "slow")]
    assert len(data) > 1
    assert len({rows["flownb:file"] for rows in data}) == 1
    assert sorted(n for rows in data for n in range(rows["from"], rows["to"])) == list(range(120))
    assert batch.table()["text"].tolist() == FRAME["text"].tolist()
    assert fn.doctor().empty


def test_a_task_that_takes_many_rows_at_a_time_gets_them(connection, tmp_path):
    @fn.task(batch_size=8)
    def lengths(n, text):
        if n.eq(33).any():
            raise ValueError("a bad row")
        return text.str.len()

    with fn.workers(2):
        batch = fn.fan_out(FRAME, lengths, files=tmp_path, name="calls", rows_per_job=40)
        found = batch.results(timeout=100)["lengths"]
    assert found.drop("r33").tolist() == FRAME["text"].drop("r33").str.len().tolist()
    assert batch.failures.index.tolist() == ["r33"]


# ---- what goes wrong ----------------------------------------------------------------------------------------------------


def test_what_earlier_attempts_left_goes_with_the_next_one(connection, runs, tmp_path, undelegated):
    def leave_unfinished(n):  # as a worker does that is killed while it writes
        for job in fn.Queue("shaky").get_jobs(["active", "waiting"]):
            if any(row["n"] == n for row in job.data["rows"]):
                begins = f".{job.id.replace('-', '.')}.{round(job.timestamp.timestamp() * 1000)}"
                (tmp_path / "shaky" / f"{begins}.1.json.1a2b3c4d").write_text("{")

    @fn.task(attempts=4)
    def shaky(n, text):
        if runs.note(n) < 3 and n % 40 == 0:
            leave_unfinished(n)
            raise ValueError("not yet")
        return text

    with fn.workers(3):
        batch = fn.fan_out(FRAME, shaky, files=tmp_path, name="shaky", rows_per_job=40)
        assert batch.results(timeout=100)["shaky"].tolist() == FRAME["text"].tolist()
    names = names_in(tmp_path / "shaky")
    assert [name.split(".")[-2] for name in names] == ["3", "rows"] * 3
    assert fn.doctor().empty


def test_a_file_that_is_gone_is_named(connection, told, tmp_path, undelegated):
    with fn.workers(3):
        batch = fn.fan_out(FRAME, told, files=tmp_path, name="lost", rows_per_job=40).wait(timeout=100)
    folder = tmp_path / "lost"
    rows_file = next(name for name in names_in(folder) if name.endswith(".rows.json"))
    (folder / rows_file).unlink()
    with pytest.raises(
        FlowError, match=f"{rows_file}: rows stood in this file, and it is gone; run them again: if_"
    ):
        fn.attach("lost").table()
    assert batch.results()["said"].count() == 120
    value = next(name for name in names_in(folder) if name.endswith(".1.json"))
    content = (folder / value).read_bytes()
    (folder / value).write_bytes(content[:-1])
    with pytest.raises(
        FlowError, match=f"{value}: rows stood in this file, and it was changed; run them again"
    ):
        batch.results()
    (folder / value).unlink()
    told_by_doctor = fn.doctor()["what"].tolist()  # and nothing of its rows is called orphaned
    assert told_by_doctor == [f"2 files in {folder} are gone: {', '.join(sorted([rows_file, value]))}"]
    assert fn.fan_out(FRAME, told, files=tmp_path, name="lost", if_exists="rerun") is not None


def test_rows_are_not_lost_where_their_folder_is(connection, redis, told, tmp_path):
    """Their values stay on the server when the folder goes away while they run."""
    begun, goes_on = threading.Event(), threading.Event()

    @fn.task
    def held(n, text):
        begun.set()
        goes_on.wait(60)
        return text

    with fn.workers(1):
        batch = fn.fan_out(FRAME, held, files=tmp_path / "files", name="held", rows_per_job=120)
        assert begun.wait(60)
        folder = tmp_path / "files" / "held"
        for name in names_in(folder):
            (folder / name).unlink()
        folder.rmdir()
        folder.write_text("in the way")
        goes_on.set()
        assert batch.results(timeout=60)["held"].tolist() == FRAME["text"].tolist()
    assert b'"values":[' in b"".join(job.get(b"returnvalue", b"") for job in jobs_of(redis, "held"))


def test_a_folder_that_cannot_be_written_refuses_the_batch(connection, redis, told, tmp_path):
    (tmp_path / "full").write_text("a file where the batch's folder should be")
    with pytest.raises(FlowError, match=r"files: .*/full: the rows cannot be written there: "):
        fn.fan_out(FRAME, told, files=tmp_path, name="full", rows_per_job=40)
    assert jobs_of(redis, "told") == []


def test_what_a_removed_job_returned_is_kept_as_long_as_its_file(connection, told, tmp_path):
    with fn.workers(3):
        batch = fn.fan_out(FRAME, told, files=tmp_path, name="cleaned", rows_per_job=40).wait(timeout=100)
    queue = fn.Queue("told")
    queue.clean(0, 1, "completed")
    assert batch.results()["said"].count() == 120
    assert not any("orphaned" in kind for kind in fn.doctor()["what"] if "value refers" in kind)
    for name in names_in(tmp_path / "cleaned"):
        if name.endswith(".1.json") and not queue.get_job(name.partition(".")[0]):
            (tmp_path / "cleaned" / name).unlink()
    with pytest.warns(UserWarning, match="the jobs of 40 rows were removed"):
        assert batch.results()["said"].count() == 80
