"""Shows `setup`: loaded once a process when a row first needs it, closed with the worker; where it fails, no row does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import sys
import threading

import pandas as pd
import pytest

import flownb as fn
from flownb.worker.setup_stops import _Stops

pytestmark = pytest.mark.usefixtures("connection")

ROWS = pd.DataFrame({"n": range(12)})


class Notes:
    """What was loaded and closed, in all processes: a line a note in a file."""

    def __init__(self, path):
        self.path = str(path)

    def note(self, what):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{what} {os.getpid()}\n")

    def read(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path, encoding="utf-8") as file:
            return [line.split() for line in file]

    def words(self):
        return [word for word, _ in self.read()]


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


def a_model(notes, factor=10):
    class Model:
        def predict(self, n):
            return n * factor

        def close(self):
            notes.note("closed")

    def load_model():
        notes.note("loaded")
        return Model()

    return load_model


# ---- once a process ----------------------------------------------------------------------------------------------


def test_a_model_is_loaded_when_it_is_first_needed_and_closed_with_the_worker(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return model.predict(n)

    with fn.workers(4):
        assert notes.words() == []
        found = fn.fan_out(ROWS, score, rows_per_job=1).results(timeout=30)
        assert found["score"].tolist() == [10 * n for n in range(12)]
        fn.fan_out(ROWS + 1, score).wait(timeout=30)
        assert notes.words() == ["loaded"]
    assert notes.words() == ["loaded", "closed"]


def test_each_process_loads_once_and_closes(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return model.predict(n)

    with fn.workers(2, executor="processes"):
        fn.fan_out(ROWS, score, rows_per_job=1).wait(timeout=120)
        found = fn.fan_out(ROWS + 1, score, rows_per_job=2).results(timeout=120)
        assert found["score"].tolist() == [10 * (n + 1) for n in range(12)]
    said = notes.read()
    assert str(os.getpid()) not in {process for _, process in said}
    for process in {process for _, process in said}:
        assert [word for word, pid in said if pid == process] == ["loaded", "closed"]


def test_workers_that_follow_each_other_load_for_themselves(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return model.predict(n)

    for start in range(2):
        with fn.workers(2):
            fn.fan_out(ROWS + start, score).wait(timeout=30)
    assert notes.words() == ["loaded", "closed"] * 2


def test_tasks_with_the_same_function_share_what_it_loads(notes):
    load = a_model(notes)

    @fn.task(setup={"model": load})
    def one(n, model):
        return model.predict(n)

    @fn.task(setup={"model": load}, batch_size=4)
    def many(n, model):
        return model.predict(n)

    with fn.workers(2):
        assert fn.fan_out(ROWS, one).results(timeout=30)["one"].sum() == 660
        assert fn.fan_out(ROWS, many).results(timeout=30)["many"].sum() == 660
    assert notes.words() == ["loaded", "closed"]


def test_plain_calls_nodes_and_debug_fill_it(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return model.predict(n)

    assert score(4) == score(n=4) == 40
    assert score(4, model=type("Fake", (), {"predict": staticmethod(lambda n: -n)})) == -4
    assert fn.add(score.node(5)).result(timeout=30) == 50
    batch = fn.fan_out(ROWS, score).wait(timeout=30)
    assert batch.debug(7) == 70
    assert notes.words() == ["loaded"]
    with pytest.raises(fn.OptionError, match="has no argument 'model'"):
        score.node(1, model=2)


@contextlib.contextmanager
def _block(notes):
    notes.note("entered")
    yield 3
    notes.note("left")


@contextlib.asynccontextmanager
async def _async_block(notes):
    notes.note("entered")
    yield 3
    await asyncio.sleep(0)
    notes.note("left")


async def _plain_async(notes):
    await asyncio.sleep(0)
    notes.note("entered")
    return _Left(notes)


class _Left:
    """Something to close that is used as a number."""

    def __init__(self, notes):
        self._notes = notes

    def __rmul__(self, n):
        return n * 3

    async def close(self):
        await asyncio.sleep(0)
        self._notes.note("left")


@pytest.mark.parametrize("load", [_block, _async_block, _plain_async])
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_context_managers_and_async_functions_are_closed_as_they_ask(notes, load, is_async):
    def times(n, factor):
        return n * factor

    async def later(n, factor):
        await asyncio.sleep(0)
        return n * factor

    task = fn.task(setup={"factor": functools.partial(load, notes)})(later if is_async else times)
    with fn.workers(2):
        found = fn.fan_out(ROWS, task).results(timeout=30)
        assert found[task.name].tolist() == [3 * n for n in range(12)]
    assert notes.words() == ["entered", "left"]


def test_an_async_client_lives_and_is_closed_in_the_loop_of_its_rows(notes):
    class Client:
        async def close(self):
            notes.note("closed" if asyncio.get_running_loop() is self.loop else "elsewhere")

    async def client():
        made = Client()
        made.loop = asyncio.get_running_loop()
        return made

    @fn.task(setup={"client": client})
    async def ask(n, client):
        return client.loop is asyncio.get_running_loop()

    for executor in ("threads", "processes"):
        with fn.workers(2, executor=executor):
            assert fn.fan_out(ROWS, ask, if_exists="rerun").results(timeout=120)["ask"].all()
        assert set(notes.words()) == {"closed"}


def test_a_timeout_does_not_count_what_is_loaded():
    started = threading.Event()

    def slow():
        started.wait(1.5)
        return 2

    @fn.task(setup={"factor": slow}, timeout=1)
    def times(n, factor):
        return n * factor

    assert fn.fan_out(ROWS, times).results(timeout=30)["times"].tolist() == [2 * n for n in range(12)]


# ---- identity ----------------------------------------------------------------------------------------------------


def test_what_setup_uses_is_part_of_the_task(capsys, notes):
    def loaded_with(factor):
        def load():
            return factor

        @fn.task(setup={"factor": load})
        def times(n, factor):
            return n * factor

        return times

    assert fn.fan_out(ROWS, loaded_with(2)).results(timeout=30)["times"].sum() == 132
    assert fn.fan_out(ROWS, loaded_with(3)).results(timeout=30)["times"].sum() == 198
    assert "other code, same rows (setup.factor.factor: 2 -> 3)" in capsys.readouterr().out


FACTOR = 2


def load_factor():
    return FACTOR


def test_rows_keep_the_setup_that_they_were_added_with(monkeypatch):
    hold = threading.Event()

    @fn.task(setup={"by": load_factor})
    def times(n, by):
        assert hold.wait(30)
        return n * by

    first = fn.fan_out(ROWS, times, name="first", rows_per_job=1)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)
    second = fn.fan_out(ROWS, times, name="second", rows_per_job=1)
    hold.set()
    assert first.results(timeout=30)["times"].sum() == 132
    assert second.results(timeout=30)["times"].sum() == 198


# ---- a setup that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_setup_that_fails_fails_no_row_and_a_repaired_cell_goes_on(executor, capsys, until):
    def load():
        raise RuntimeError("no graphics card")

    @fn.task(setup={"model": load})
    def score(n, model):
        return n * model

    with fn.workers(2, executor=executor):
        batch = fn.fan_out(ROWS, score, name="rows", rows_per_job=2)
        until(lambda: "graphics" in " ".join(batch.explain()["why"]), seconds=60)
        until(lambda: batch.progress().active == 0, seconds=60)
        reasons = batch.explain()
        [(why, fix)] = reasons[reasons["why"].str.contains("graphics")][["why", "fix"]].itertuples(
            index=False
        )
        assert "the setup 'model' of task score failed: RuntimeError: no graphics card" in why
        assert f"stands still in process {os.getpid()}" in why
        assert "no row has failed of it" in fix
        assert batch.progress().failed == 0
        assert "its rows wait: mend it" in capsys.readouterr().out

        def load():
            return 5

        @fn.task(setup={"model": load})
        def score(n, model):
            return n * model

        assert batch.results(timeout=60)["score"].tolist() == [5 * n for n in range(12)]
        assert batch.table()["_attempts"].tolist() == [1] * 12
        assert batch.explain().empty


def test_the_same_call_again_tries_once_more(tmp_path, until):
    path = tmp_path / "model.txt"

    @fn.task(setup={"word": path.read_text})
    def said(n, word):
        return f"{word} {n}"

    batch = fn.fan_out(ROWS, said, name="rows")
    until(lambda: "FileNotFoundError" in " ".join(batch.explain()["why"]), seconds=60)
    path.write_text("there")
    assert fn.fan_out(ROWS, said, name="rows").results(timeout=60)["said"].iloc[3] == "there 3"


def test_other_tasks_and_other_workers_go_on(until, connection):
    def load():
        raise RuntimeError("not here")

    @fn.task(setup={"model": load})
    def broken(n, model):
        return n

    @fn.task
    def well(n):
        return n

    batch = fn.fan_out(ROWS, broken, name="rows")
    until(lambda: "not here" in " ".join(batch.explain()["why"]), seconds=60)
    assert fn.fan_out(ROWS, well).results(timeout=30)["well"].tolist() == list(range(12))
    with fn.Worker("broken", lambda job: job.data["n"]):
        assert batch.results(timeout=60)["broken"].tolist() == list(range(12))


def test_a_stop_that_comes_while_its_task_may_try_again_is_heard_of():
    """Else the task's worker takes its jobs and gives them back without an end, and no other worker gets one."""
    stops, heard = _Stops(), []
    stops.add("q", "t", "first")
    stops.listen(lambda: heard.append(stops.why_of("q", "t")))
    clearing = threading.Thread(target=stops.clear, args=[["q"]])

    class Meeting(dict):
        def __contains__(self, task):
            found = super().__contains__(task)
            clearing.start()
            clearing.join(0.2)  # it waits for the stop that has begun to come
            return found

    stops._why = Meeting(stops._why)
    stops.add("q", "t", "again")
    clearing.join()
    assert heard[-1] == stops.why_of("q", "t")


def test_a_process_that_dies_while_it_loads_fails_no_row(until):
    def load():
        os._exit(7)

    @fn.task(setup={"model": load})
    def score(n, model):
        return n

    with fn.workers(1, executor="processes"):
        batch = fn.fan_out(ROWS, score)
        until(lambda: "exit code 7" in " ".join(batch.explain()["why"]), seconds=60)
        assert batch.progress().failed == 0


def test_plain_calls_raise_what_the_function_raised():
    def load():
        raise KeyError("weights")

    @fn.task(setup={"model": load})
    def score(n, model):
        return n

    with pytest.raises(KeyError, match="weights"):
        score(1)


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (["model"], "functions by the parameters that they fill"),
        ({"model": 5}, "a function without arguments that loads it, not 5"),
        ({"model": lambda path: path}, "a function without arguments; functools.partial"),
        ({"modle": list}, "no parameter 'modle'"),
        ({"job": list}, "no parameter 'job'"),
    ],
)
def test_a_setup_is_checked_where_the_task_is_made(setup, said):
    with pytest.raises(fn.OptionError, match=said):

        @fn.task(setup=setup)
        def score(n, model, job):
            return n


def test_a_column_of_its_name_is_refused(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return n

    with pytest.raises(fn.FlowError, match="column 'model': the task's setup fills the parameter"):
        fn.fan_out(ROWS.assign(model="a"), score)


def test_it_is_no_argument_of_a_node_or_row(notes):
    @fn.task(setup={"model": a_model(notes)})
    def score(n, model):
        return n

    assert score.required == ["n"]
    assert list(inspect.signature(score).parameters) == ["n", "model"]
