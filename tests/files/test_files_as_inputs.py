"""Files that one batch has returned as the inputs of the next: a task receives `fn.File`, in whatever frame they come."""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd
import pytest

import flownb as fn
from flownb.errors import FlowError

SIDES = [3, 4, 5]


@fn.task
def drawn(side):
    from PIL import Image

    return {"picture": Image.new("RGB", (side, side)), "raw": bytes([side]) * side}


@fn.task
def measured(picture, raw):
    assert isinstance(picture, fn.File)
    return {"side": picture.load().size[0], "raw_bytes": len(raw.load())}


@fn.task(batch_size=2)
def measured_together(picture):
    return [file.load().size[0] for file in picture]


@fn.task
def whole(row):
    return [row["list"][1].load().size[0], row["dict"]["a"].bytes]


@fn.task
def widest(rows):
    """An aggregate sees the inputs of its rows as well as their values, in the kind of frame that came in."""
    if isinstance(rows, pd.DataFrame):
        files = rows["picture"].tolist()
    else:
        column = rows["picture"]
        structs = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
        files = [fn.File(**struct) for struct in structs]
    return max(file.load().size[0] for file in files)


@pytest.fixture
def serving(connection):
    from flownb.tasks import registry

    for task in (drawn, measured, measured_together, whole, widest, sides, length):
        registry.register(task)
    with fn.workers(4):
        yield


def draw(files=None):
    frame = pd.DataFrame({"side": SIDES}, index=list("abc"))
    return fn.fan_out(frame, drawn, name="drawn", files=files)


@pytest.fixture
def pictures(serving):
    return draw()


@pytest.mark.parametrize("frame", ["pandas", "polars", "arrow"])
def test_the_results_of_one_batch_are_the_input_of_the_next(serving, place, frame):
    found = draw(place).results(timeout=60, frame=frame)
    sizes = fn.fan_out(found, measured, name="measured", into=widest)
    assert sizes.results(timeout=60, frame="pandas")["side"].tolist() == SIDES
    assert sizes.results(frame="pandas")["raw_bytes"].tolist() == SIDES
    assert sizes.result(timeout=60) == max(SIDES)
    shared = fn.fan_out(found, measured, name="shared", rows_per_job=2)
    assert shared.results(timeout=60, frame="pandas")["side"].tolist() == SIDES
    assert (
        fn.fan_out(found, measured_together, name="together")
        .results(timeout=60, frame="pandas")["measured_together"]
        .tolist()
        == SIDES
    )


def test_rows_that_stand_in_a_file_themselves_refer_to_files(pictures, tmp_path):
    found = pictures.results(timeout=60).loc[["a", "b", "c"] * 40].reset_index(drop=True)
    batch = fn.fan_out(found, measured, name="many", files=tmp_path, rows_per_job=60)
    assert batch.results(timeout=60)["side"].tolist() == SIDES * 40
    assert batch.table()["picture"].tolist() == found["picture"].tolist()
    assert any(path.name.endswith(".rows.json") for path in (tmp_path / "many").iterdir())
    assert fn.doctor().empty


def test_lazily_nested_and_in_large_cells_too(pictures):
    polars = pytest.importorskip("polars")
    lazy = pictures.results(timeout=60, frame="polars").lazy()
    found = fn.fan_out(lazy, measured, name="lazily").results(timeout=60)
    assert isinstance(found, polars.DataFrame)
    assert found["side"].to_list() == SIDES
    files = pictures.results()["picture"].tolist()
    rows = [
        {"list": [None, files[0]], "dict": {"a": files[1]}},
        {"list": ["x" * 300_000, files[2]], "dict": {"a": files[2]}},
    ]
    nested = fn.fan_out(rows, whole, name="nested")
    assert nested.results(timeout=60)["whole"].tolist() == [
        [SIDES[0], files[1].bytes],
        [SIDES[2], files[2].bytes],
    ]
    assert nested.table()["list"][1][1] == files[2]
    assert nested.row(0).inputs["dict"] == {"a": files[1]}


def test_a_new_handle_a_call_here_and_a_process_get_files(pictures, connection):
    found = pictures.results(timeout=60)
    fn.fan_out(found, measured, name="measured").wait(timeout=60)
    batch = fn.attach("measured")
    assert batch.table()["picture"].tolist() == found["picture"].tolist()
    assert batch.debug("b") == {"side": SIDES[1], "raw_bytes": SIDES[1]}
    with fn.workers(2, executor="processes"):
        again = fn.fan_out(found, measured, name="measured", if_exists="rerun")
        assert again.results(timeout=100)["side"].tolist() == SIDES


def test_rows_whose_file_has_another_content_run_again_and_others_do_not(serving, tmp_path):
    """A file is named by the row that returned it: the name alone does not tell."""
    sides = {"n": 3}
    ran = []

    @fn.task
    def one(side):
        return bytes(sides["n"] if side == SIDES[0] else side)

    @fn.task
    def count(one):
        ran.append(one.bytes)
        return len(one.load())

    def files_of_one():
        batch = fn.fan_out(pd.DataFrame({"side": SIDES}), one, name="one", files=tmp_path)
        return batch.results(timeout=60)

    before = files_of_one()
    assert fn.fan_out(before, count, name="count").results(timeout=60)["count"].tolist() == SIDES
    sides["n"] = 7
    fn.attach("one").remove()
    after = files_of_one()
    assert [file.path for file in after["one"]] == [file.path for file in before["one"]]
    assert fn.fan_out(after, count, name="count").results(timeout=60)["count"].tolist() == [7, *SIDES[1:]]
    assert sorted(ran) == [*SIDES, 7]


def test_what_a_task_passes_on_stays_when_the_flow_that_it_came_from_goes(pictures):
    @fn.task
    def passed_on(picture):
        return {"copy": picture}

    found = pictures.results(timeout=60)
    copies = fn.fan_out(found, passed_on, name="passed-on").results(timeout=60)
    pictures.remove(files=True)
    assert [file.load().size[0] for file in copies["copy"]] == SIDES
    failed = fn.fan_out(found, measured, name="too-late")
    failed.wait(timeout=60)
    assert failed.failures["message"].str.contains("is gone: with the flow whose value it was").all()
    with pytest.raises(FileNotFoundError, match="run that flow's rows again"):
        found["picture"].iloc[0].load()


def test_only_files_become_files(serving, connection, tmp_path):
    """What a caller got from elsewhere may look like one: no worker opens a path that it names."""
    (tmp_path / "secret.txt").write_text("secret")
    path = str(tmp_path / "secret.txt")
    mark = {"flownb:file": path, "bytes": 6, "digest": ""}
    struct = {"path": path, "bytes": 6, "media_type": "text/plain", "digest": ""}

    @fn.task
    def same(cell):
        return cell

    for cell in (mark, [mark], {"a": mark}):
        with pytest.raises(
            FlowError, match="the dict's key 'flownb:file' says in flownb's own data where a file is"
        ):
            fn.fan_out([cell], same)
    assert fn.fan_out([struct], same, name="struct").results(timeout=60)["path"].tolist() == [path]
    text = '{"flownb:file":"/x.txt","bytes":1,"digest":""}'
    assert fn.fan_out([text], same, name="text").results(timeout=60)["same"].tolist() == [text]
    assert fn.add(same.node(mark)).result(timeout=60) == mark
    file = fn.File(path, 6, "text/plain")
    with pytest.raises(FlowError, match="the dict's key 'flownb:file'"):
        same.node({"mine": mark, "theirs": [file]})


# ---- arguments of a node ---------------------------------------------------------------------------------


@fn.task
def sides(pictures, raw=None):
    files = [
        *(pictures.values() if isinstance(pictures, dict) else pictures),
        *([] if raw is None else [raw]),
    ]
    assert all(isinstance(file, fn.File) for file in files)
    return [one.size[0] if hasattr(one, "size") else len(one) for one in (file.load() for file in files)]


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_an_argument_of_a_node_is_a_file_too(pictures, executor):
    found = pictures.results(timeout=60)
    first, second, third = found["picture"]
    nodes = {
        "in a list": sides.node([first, second], found["raw"].iloc[2]),
        "in a tuple": sides.node((first,)),
        "in a dict": sides.node({"a": third, "b": first}),
    }
    flow = fn.add({"name": "all", "queueName": "all", "children": list(nodes.values())})
    serving_root = fn.Worker("all", lambda job: list(job.get_children_values().values()))
    with fn.workers(2, executor=executor), serving_root:
        assert flow.result(timeout=100) == [[3, 4, 5], [3], [5, 3]]
    assert nodes["in a tuple"].data == {
        "pictures": [{"flownb:file": first.path, "bytes": first.bytes, "digest": first.digest}]
    }


def test_also_beside_values_of_children_and_in_a_chain(pictures):
    first, second, third = pictures.results(timeout=60)["picture"]

    @fn.task
    def sum_of(file, values, also=None):
        return file.load().size[0] + sum(values) + (also.load().size[0] if also is not None else 0)

    flow = fn.add(sum_of.node(first, sides.node([second, third])))
    assert flow.result(timeout=60) == 3 + 4 + 5
    assert flow.job.data == {"file": first}
    chained = fn.add(fn.chain(sides.node([second]), sum_of.node(first, also=third)))
    assert chained.result(timeout=60) == 4 + 3 + 5


def test_children_that_a_running_task_adds_get_files(pictures):
    first, second, _ = pictures.results(timeout=60)["picture"]

    @fn.task
    def parent(job, files):
        return job.add_children([sides.node([file]) for file in files])

    assert fn.add(parent.node([first, second])).result(timeout=60) == [[3], [4]]


def test_a_node_with_files_is_more_than_bullmq_stores(pictures):
    file = pictures.results(timeout=60)["picture"].iloc[0]
    with pytest.raises(
        FlowError, match="a task with nodes or files as arguments is more than BullMQ can store"
    ):
        fn.add(sides.node([file]), semantics="bullmq")


@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_rows_whose_files_were_made_again_with_the_same_content_do_not_run_again(serving, place, frame):
    @fn.task
    def rendered(side):
        return bytes([side]) * side

    @fn.task
    def paid(rendered, note):
        fn.spend(usd=1)
        return len(rendered.load())

    def paid_for(if_exists, note, **options):
        frame_of_files = fn.fan_out(SIDES, rendered, name="rendered", files=place, if_exists=if_exists)
        files = frame_of_files.results(timeout=60)["rendered"].tolist()
        rows = pd.DataFrame({"rendered": files, "note": note(files)})
        if frame == "polars":
            rows = pytest.importorskip("polars").DataFrame(
                {name: list(map(as_polars, rows[name])) for name in rows}, strict=False
            )
        batch = fn.fan_out(rows, paid, name="paid", **options)
        assert batch.results(timeout=60, frame="pandas")["paid"].tolist() == SIDES
        return {file.path for file in files}, batch.progress().spent["usd"]

    def as_polars(value):
        return asdict(value) if isinstance(value, fn.File) else value

    for note, times in ((lambda files: "plain", 1), (long_notes, 2)):
        before, spent = paid_for("reuse", note)
        assert spent == times * len(SIDES)
        after, spent = paid_for("rerun", note)
        assert not before & after  # files of their own, of other rows
        assert spent == times * len(SIDES), "paid again for the same content"


def long_notes(files):
    """A file within a cell that is stored beside the flow."""
    return [["x" * 300_000, file] for file in files]


def test_equal_contents_run_once_where_equal_rows_do(pictures):
    found = pictures.results(timeout=60).loc[["a", "a", "b"]]
    files = [found["raw"].iloc[0], replace(found["raw"].iloc[1], path="elsewhere.bin"), found["raw"].iloc[2]]
    batch = fn.fan_out(pd.DataFrame({"raw": files}), length, name="once", unique=True)
    assert batch.results(timeout=60)["length"].tolist() == [SIDES[0], SIDES[0], SIDES[1]]
    assert batch.progress().total == 3  # two runs and the root


@fn.task
def length(raw):
    return len(raw.load())
