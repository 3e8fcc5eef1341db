"""Values in files: what rows return that JSON does not hold, or that is large, wherever the files are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import flownb as fn
from flownb.errors import FlowError, OptionError

PICTURE_SIZE = (31, 17)


@fn.task
def kinds(n):
    """Return one of each kind."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([n, 2 * n])
    return {
        "n": n,
        "frame": pd.DataFrame(
            {"a": [n, None], "t": pd.Timestamp("2024-02-29", tz="Europe/Berlin")}, index=["x", "y"]
        ),
        "polars": pl.DataFrame({"a": [n]}),
        "arrow": pa.table({"a": [n]}),
        "image": Image.new("RGB", PICTURE_SIZE, (n, 0, 0)),
        "figure": figure,
        "raw": bytes([n]) * 3,
        "both": [1, {"raw": b"x"}],
    }


@fn.task
def large(n):
    return {"text": {"long": "é" * n}, "array": np.arange(n).reshape(-1, 1)}


@fn.task
def masked(n):
    return np.ma.masked_array([n, n], mask=[False, True])


@fn.task
def raw(n):
    return bytes([n % 251]) * 1000


@pytest.fixture
def serving(connection):
    from flownb.tasks import registry

    for task in (kinds, large, masked, raw):
        registry.register(task)
    with fn.workers(4):
        yield


def names_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if (folder / name).is_file())


# ---- every kind, everywhere ------------------------------------------------------------------------------------


def test_every_kind_comes_back_as_it_went(serving, place):
    batch = fn.fan_out(pd.DataFrame({"n": [5, 6]}, index=["a", "b"]), kinds, files=place, name="kinds")
    row = batch.results(timeout=60).loc["b"]
    assert row["n"] == 6
    pd.testing.assert_frame_equal(row["frame"].load(), kinds(6)["frame"])
    assert row["polars"].load()["a"].tolist() == row["arrow"].load()["a"].tolist() == [6]
    assert row["image"].load().size == PICTURE_SIZE
    assert row["image"].load().getpixel((0, 0)) == (6, 0, 0)
    assert row["figure"].media_type == "image/png"
    assert row["raw"].load() == b"\6\6\6"
    assert row["both"][0] == 1
    assert row["both"][1]["raw"].load() == b"x"
    assert (row["raw"].bytes, repr(row["raw"])) == (3, "File(bin, 3 bytes)")
    again = fn.attach("kinds").table().loc["a"]
    assert again["raw"].load() == b"\5\5\5"
    assert batch.row("a").value["raw"].load() == b"\5\5\5"
    assert fn.doctor().empty


def test_large_values_and_arrays_go_where_the_caller_said(serving, place):
    batch = fn.fan_out([3, 300_000], large, files=place, name="large")
    small, big = batch.results(timeout=60).to_dict("records")
    if place is None:  # JSON holds both, and the embedded server as much
        assert (small["array"], len(big["text"]["long"])) == ([[0], [1], [2]], 300_000)
        return
    np.testing.assert_array_equal(small["array"].load(), [[0], [1], [2]])
    assert small["text"] == {"long": "ééé"}
    assert big["text"].load() == {"long": "é" * 300_000}
    np.testing.assert_array_equal(big["array"].load(), np.arange(300_000).reshape(-1, 1))
    assert fn.doctor().empty  # nothing refers to a file out of a file, where doctor would not see it


@pytest.mark.parametrize("ways", ["one job", "own job", "batch"])
def test_a_step_sees_what_is_in_a_file_for_its_size_alone_as_it_was_returned(serving, tmp_path, ways):
    @fn.task
    def fetch(n):
        return {"page": "x" * n, "words": list(range(n)), "n2": n * 2}

    @fn.task
    def many(n):
        return {str(i): i for i in range(n)} | {"n2": n * 2, "page": "", "words": []}

    @fn.task(queue="parsing" if ways == "own job" else None)
    def parse(page, words, n2):
        return {"found": len(page) + len(words) + n2}

    @fn.task(batch_size=2)
    def parse_each(page, words, n2):
        return [{"found": len(p) + len(w) + n} for p, w, n in zip(page, words, n2, strict=True)]

    last = parse_each if ways == "batch" else parse
    rows = pd.DataFrame({"n": [3, 300_000]})
    got = fn.fan_out(rows, [fetch, last], files=tmp_path, name="parts").results(timeout=60)
    assert got["found"].tolist() == [12, 1_200_000]
    assert got["n2"].tolist() == [6, 600_000]
    assert got["page"][0] == "xxx"
    assert got["page"][1].load() == "x" * 300_000
    small_parts = fn.fan_out(pd.DataFrame({"n": [40_000]}), [many, last], files=tmp_path, name="small parts")
    assert small_parts.results(timeout=60)["found"].tolist() == [80_000]
    assert fn.doctor().empty


def test_what_is_masked_in_an_array_stays_so(serving, tmp_path):
    found = fn.fan_out([1], masked, files=tmp_path).results(timeout=60)["masked"][0]
    assert found == [1, None]
    assert names_in(tmp_path) == []


def test_json_of_more_than_the_server_takes_goes_to_the_callers_folder(serving, tmp_path):
    @fn.task
    def long(n):
        return "x" * n

    batch = fn.fan_out([12_000_000], long, files=tmp_path)
    assert batch.results(timeout=60)["long"][0].load() == "x" * 12_000_000


def test_anyone_can_read_them(serving, tmp_path):
    batch = fn.fan_out([7], kinds, files=tmp_path, name="open")
    batch.wait(timeout=60)
    found = {name.partition(".")[2]: tmp_path / "open" / name for name in names_in(tmp_path / "open")}
    assert sorted(found) == [
        "arrow.parquet", "both.1.raw.bin", "figure.png", "frame.parquet", "image.png", "polars.parquet", "raw.bin",
    ]  # fmt: skip
    assert pl.read_parquet(found["polars.parquet"])["a"].to_list() == [7]
    assert found["figure.png"].read_bytes().startswith(b"\x89PNG")


def test_aggregates_and_steps_receive_files(serving, tmp_path):
    @fn.task
    def total(rows):
        return sum(len(file.load()) for file in rows["raw"])

    assert fn.fan_out([1, 2], raw, into=total).result(timeout=60) == 2000

    @fn.task
    def frame():
        return pd.DataFrame({"a": [1, 2]})

    @fn.task
    def add_up(found):
        return int(found.load()["a"].sum())

    assert fn.add(add_up.node(frame.node())).result(timeout=60) == 3

    @fn.task
    def passed_on(found):
        return found

    flow = fn.add(passed_on.node(frame.node()))
    assert flow.result(timeout=60).load()["a"].tolist() == [1, 2]


def test_processes_write_them_too(connection, tmp_path):
    @fn.task
    def squared(n):
        return np.full(n, n)

    with fn.workers(2, executor="processes"):
        batch = fn.fan_out([2, 3], squared, files=tmp_path)
        assert [file.load().tolist() for file in batch.results(timeout=60)["squared"]] == [[2, 2], [3, 3, 3]]


def test_a_picture_shows_itself_and_a_lost_one_says_so(serving):
    batch = fn.fan_out([7], kinds)
    file = batch.results(timeout=60)["image"][0]
    assert file._repr_mimebundle_()["image/png"].startswith("iVBOR")
    batch.remove()
    assert "cannot be read here" in file._repr_mimebundle_()["text/plain"]


# ---- the server stays small, files are whole, nothing is left over ---------------------------------------------------


def test_results_never_pass_through_the_server(connection, redis, tmp_path):
    @fn.task
    def heavy(n):
        return np.random.default_rng(n).bytes(1_000_000)

    with fn.workers(4):
        fn.fan_out([0], heavy, files=tmp_path, name="first").wait(timeout=60)
        before, sent = redis.info("memory")["used_memory"], redis.info("stats")["total_net_input_bytes"]
        batch = fn.fan_out(list(range(60)), heavy, files=tmp_path, name="rest")
        found = batch.results(timeout=100)
    assert sum(file.bytes for file in found["heavy"]) == 60_000_000
    assert redis.info("memory")["used_memory"] - before < 1_000_000
    assert redis.info("stats")["total_net_input_bytes"] - sent < 1_000_000


def test_a_name_appears_when_its_file_is_whole(connection, tmp_path):
    size = 8_000_000

    @fn.task
    def big(n):
        return bytes(size)

    seen, is_over = [], threading.Event()

    def look():
        while not is_over.is_set():
            for name in os.listdir(tmp_path / "whole") if (tmp_path / "whole").is_dir() else ():
                if not name.startswith("."):
                    seen.append((tmp_path / "whole" / name).stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()
    with fn.workers(4):
        fn.fan_out(list(range(20)), big, files=tmp_path, name="whole").wait(timeout=100)
    is_over.set()
    looking.join()
    assert seen
    assert set(seen) == {size}


SERVE = """
import sys, time
from pathlib import Path
import flownb as fn
fn.connect(path=sys.argv[1])

class Picture:
    def _repr_png_(self):
        while not Path(sys.argv[2]).exists():
            time.sleep(0.01)
        return b"png"

@fn.task
def slow(n):
    return {"raw": bytes([n]), "picture": Picture()}

with fn.workers(2):
    sys.stdin.read()
"""


def test_a_row_that_runs_again_writes_the_same_files(connection, tmp_path, until):
    goes_on, folder = tmp_path / "goes-on", tmp_path / "files" / "killed"

    def serve() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SERVE, connection.path, goes_on]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), "slow", files=folder.parent, name="killed")
    worker = serve()
    # half of what two rows return
    until(lambda: folder.is_dir() and len([name for name in names_in(folder) if name[0] == "r"]) == 2, 60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    begun = next(name for name in names_in(folder) if name[0] == "r")
    (folder / f".{begun}.1a2b3c4d").write_bytes(b"half")  # as when it dies while it writes
    goes_on.touch()
    worker = serve()
    found = batch.results(timeout=100)
    worker.kill()
    worker.wait()
    assert [file.load()[0] for file in found["raw"]] == list(range(6))
    assert len(names_in(folder)) == 12
    assert fn.doctor().empty


# ---- kept and removed ------------------------------------------------------------------------------------------------


def test_the_embedded_servers_files_go_with_the_flow(serving, connection):
    fn.fan_out([1, 2], raw, name="going").wait(timeout=60)
    folder = connection.path / "files" / "bull"
    assert len(names_in(folder / "going")) == 2
    fn.attach("going").remove()
    assert os.listdir(folder) == []


def test_rows_that_a_later_batch_shares_keep_their_files(serving, connection):
    fn.fan_out([1, 2], raw, name="grown").wait(timeout=60)
    fn.fan_out([2, 3], raw, name="grown").wait(timeout=60)
    assert len(fn.prune(state="older")) == 1
    assert [file.load()[0] for file in fn.attach("grown").results()["raw"]] == [2, 3]
    assert len(names_in(connection.path / "files" / "bull" / "grown")) == 2
    assert fn.doctor().empty


def test_a_callers_folder_stays_unless_he_says_otherwise(serving, place, tmp_path):
    import fsspec

    if place is None:
        place = str(tmp_path / "mine")
    path = fn.fan_out([1], raw, name="mine", files=place).results(timeout=60)["raw"][0].path
    fn.attach("mine").remove()
    with fsspec.open(path) as file:
        assert file.read() == b"\1" * 1000
    fn.fan_out([1], raw, name="mine", files=place).wait(timeout=60)
    fn.attach("mine").remove(files=True)
    with pytest.raises(FileNotFoundError), fsspec.open(path) as file:
        file.read()
    assert not fsspec.url_to_fs(path.rpartition("/")[0])[0].exists(path.rpartition("/")[0])


def test_a_flow_that_removes_itself_takes_its_files_along(serving, connection, until):
    @fn.task(remove_on_complete=True)
    def frame():
        return pd.DataFrame({"a": [1]})

    fn.add(frame.node()).wait(timeout=60)
    until(lambda: os.listdir(connection.path / "files" / "bull") == [], 60)


def test_doctor_tells_of_files_that_are_missing_or_belong_to_nothing(serving, connection, tmp_path):
    own = connection.path / "files" / "bull"
    fn.fan_out([1, 2, 3], raw, name="kept").wait(timeout=60)
    fn.fan_out([1], raw, name="mine", files=tmp_path / "mine").wait(timeout=60)
    assert fn.doctor().empty
    gone, *_ = names_in(own / "kept")
    (own / "kept" / gone).unlink()
    (own / "kept" / "rabcdefghijklmnop.bin").write_bytes(b"")
    (own / "nobodys").mkdir()
    (own / "nobodys" / "r1.bin").write_bytes(b"")
    (tmp_path / "mine" / "mine" / ".rabcdefghijklmnop.bin.1a2b3c4d").write_bytes(b"")
    (tmp_path / "mine" / "mine" / "report.txt").write_text("somebody's own")
    told = fn.doctor()["what"].tolist()
    assert f"1 file in {own / 'kept'} is gone: {gone}" in told
    assert len(told) == 4
    assert fn.doctor(fix=True)["fix"].str.startswith("mended: remove them").sum() == 3
    assert fn.doctor()["what"].tolist() == [f"1 file in {own / 'kept'} is gone: {gone}"]
    assert sorted(os.listdir(own)) == ["kept"]
    fn.attach("mine").remove(files=True)
    assert os.listdir(tmp_path / "mine" / "mine") == ["report.txt"]


def test_doctor_tells_of_a_folder_that_was_deleted_by_hand(serving, connection, tmp_path):
    """That of the embedded server as that of a caller; flows without files are not asked for one."""

    @fn.task
    def total(rows):
        return rows["raw"].map(lambda file: file.bytes).sum()

    own = connection.path / "files" / "bull"
    fn.fan_out([1, 2, 3], raw, name="kept", into=total).wait(timeout=60)
    fn.fan_out([1], raw, name="mine", files=tmp_path / "mine").wait(timeout=60)
    fn.add(fn.Node("bare", "raw", data={"n": 4})).wait(timeout=60)
    assert fn.doctor().empty
    shutil.rmtree(own)
    shutil.rmtree(tmp_path / "mine")
    told = fn.doctor().set_index("job")["what"].to_dict()
    assert told["kept"].startswith(f"3 files in {own / 'kept'} are gone: ")
    assert told["mine"].startswith(f"1 file in {tmp_path / 'mine' / 'mine'} is gone: ")
    assert len(told) == 3
    assert fn.doctor()["fix"].str.contains("if_exists='rerun'").any()


# ---- a server of everybody's -----------------------------------------------------------------------------------------


def test_on_another_server_the_batch_pauses_until_it_is_told_where(own_server, tmp_path, until):
    fn.connect(own_server.url)

    @fn.task
    def sized(n):
        return pd.DataFrame({"n": range(n)})

    with fn.workers(2):
        batch = fn.fan_out([1, 2, 3], sized, name="told")
        until(lambda: batch.progress().paused)
        assert batch.progress().failed == 0
        assert batch.explain().loc[0, ["why", "fix"]].tolist() == [
            "the flow is paused: sized returned a DataFrame, which goes to a file",
            "run the same fan_out again with files=, a folder or bucket that all workers reach",
        ]
        assert fn.flows()["why"][0].startswith("the flow is paused: sized returned")
        batch = fn.fan_out([1, 2, 3], sized, name="told", files=tmp_path)
        assert [len(file.load()) for file in batch.results(timeout=60)["sized"]] == [1, 2, 3]
        assert not batch.progress().paused


@pytest.mark.parametrize("kind", ["lazy", "iterator"])
def test_a_batch_that_is_read_piece_by_piece_goes_on_as_well_once_it_is_told(
    own_server, tmp_path, until, kind
):
    """Its rows are those of the batch before, whose workers look for a folder there."""
    fn.connect(own_server.url)
    rows = range(1, 1200)

    @fn.task
    def sized(n):
        return pd.DataFrame({"n": range(n % 5)}) if n % 100 == 0 else n

    def source():
        return pl.LazyFrame({"n": rows}) if kind == "lazy" else ({"n": n} for n in rows)

    with fn.workers(2):
        batch = fn.fan_out(source(), sized, name="told")
        until(lambda: batch.progress().paused, 60)
        assert batch.explain()["fix"][0].startswith("run the same fan_out again with files=")
        batch = fn.fan_out(source(), sized, name="told", files=tmp_path)
        found = batch.results(timeout=60, frame="pandas", failed="raise")["sized"]
        assert [len(file.load()) for file in found[99::100]] == [0] * len(found[99::100])
        assert found[0] == 1
        assert not batch.progress().paused
        assert batch.progress().completed == batch.progress().total == len(rows) + 1


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (5, "files: a folder, or a URL such as 's3://bucket/results', not 5"),
        ("", "files: a folder, or a URL"),
        ("nope://x", "files: 'nope://x' cannot be used from here: "),
        ("s3://key:secret@bucket/x", "files: no password in a URL"),
        ("/dev/null/x", "files: '/dev/null/x' cannot be used from here: .*Not a directory"),
        ("s3://no-such-bucket-here/x", "files: 's3://no-such-bucket-here/x' cannot be used from here: "),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_stored(connection, redis, bucket, files, told):
    with pytest.raises(OptionError, match=told):
        fn.fan_out([1], raw, files=files, name="refused")
    assert not redis.keys("*refused*")
    assert fn.flows().empty


def test_all_batches_of_a_name_have_one_folder(serving, tmp_path):
    fn.fan_out([1], raw, name="one", files=tmp_path / "a").wait(timeout=60)
    with pytest.raises(
        FlowError, match=r"the rows of batch 'one' have theirs in .*/a'; give that, another name, or"
    ):
        fn.fan_out([1, 2], raw, name="one", files=tmp_path / "b")
    batch = fn.fan_out([1, 2], raw, name="one")  # as before
    assert [os.path.dirname(file.path) for file in batch.results(timeout=60)["raw"]] == [
        str(tmp_path / "a/one")
    ] * 2


def test_without_a_folder_what_json_cannot_hold_is_refused_as_before(own_server):
    fn.connect(own_server.url)
    flow = fn.add({"name": "raw", "queueName": "raws"})
    with fn.Worker("raws", lambda job: b"x"), pytest.raises(fn.FlowFailed, match="bytes"):
        flow.result(timeout=60)
