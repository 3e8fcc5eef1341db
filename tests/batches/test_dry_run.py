"""Shows `dry_run=True`: what would run, run again, be kept or joined is said, and nothing is written."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def rate():
    @fn.task
    def rate(n):
        if n == 3:
            raise TimeoutError("too long")
        if n == 4:
            raise fn.UnrecoverableError("never")
        return n

    return rate


FRAME = pd.DataFrame({"n": [1, 2, 3, 4], "other": list("wxyz")}, index=list("abcd"))


def test_each_row_says_what_would_become_of_it_and_that_is_what_becomes_of_it(rate, capsys):
    fn.fan_out(FRAME, rate, name="b").wait(timeout=20)
    more = pd.concat([FRAME, pd.DataFrame({"n": [5, 6], "other": list("uv")}, index=["e", "f"])])
    more.loc["a", "n"] = 7
    capsys.readouterr()
    plan = fn.fan_out(more, rate, name="b", dry_run=True)
    pd.testing.assert_frame_equal(plan[["n", "other"]], more)
    assert plan["_would"].to_dict() == {
        "a": "run", "b": "reuse", "c": "retry", "d": "stay failed", "e": "run", "f": "run",
    }  # fmt: skip
    assert capsys.readouterr().out == (
        "batch 'b', dry run: 6 rows: 1 kept, 3 would run, 1 would run again after a failure, 1 would stay failed\n"
    )
    assert fn.attach("b").results(failed="drop").index.tolist() == ["a", "b"]  # still the batch before
    batch = fn.fan_out(more, rate, name="b").wait(timeout=20)
    said = capsys.readouterr().out
    assert (
        "1 of 6 rows are there already, 4 run, 1 of them once more after a failure, 1 failed for good" in said
    )
    assert batch.failures.index.tolist() == ["c", "d"]
    plan = fn.fan_out(more, rate, name="b", dry_run=True)
    assert plan["_would"].tolist() == ["reuse", "reuse", "retry", "stay failed", "reuse", "reuse"]
    assert set(fn.fan_out(more, rate, name="b", if_exists="rerun", dry_run=True)["_would"]) == {"run"}


def test_rows_that_wait_or_run_are_joined(capsys):
    may_end = threading.Event()

    @fn.task
    def slow(n):
        assert n == 1 or may_end.wait(60)
        return n

    batch = fn.fan_out([1, 2], slow, name="b")
    assert next(batch.as_completed(timeout=60)) == (0, 1)
    capsys.readouterr()
    assert fn.fan_out([1, 2], slow, name="b", dry_run=True)["_would"].tolist() == ["reuse", "join"]
    assert capsys.readouterr().out == (
        "batch 'b', dry run: 2 rows: 1 kept, 1 wait or run already; the batch runs already\n"
    )
    assert fn.fan_out([2, 3], slow, name="b", dry_run=True)["_would"].tolist() == ["join", "run"]
    may_end.set()
    batch.wait(timeout=60)


def test_what_would_run_above_the_rows_is_said_too(rate, capsys):
    @fn.task
    def per_letter(rows):
        return len(rows)

    @fn.task
    def summary(frame):
        return len(frame)

    above = {"by": "other", "into": [per_letter, summary], "name": "b"}
    fn.fan_out(FRAME.head(2), rate, dry_run=True, **above)
    assert capsys.readouterr().out == (
        "batch 'b', dry run: 2 rows: 2 would run; then per_letter for each of 2 groups, then summary\n"
    )
    fn.fan_out(FRAME.head(2), rate, **above).wait(timeout=20)
    capsys.readouterr()
    fn.fan_out(FRAME.head(2), rate, dry_run=True, **above)
    assert capsys.readouterr().out == "batch 'b', dry run: 2 rows: 2 kept\n"
    fn.fan_out([], rate, name="b", dry_run=True)
    assert capsys.readouterr().out == "batch 'b', dry run: no rows\n"


def test_an_edited_function_is_announced(rate, capsys):
    fn.fan_out(FRAME.head(2), rate, name="b").wait(timeout=20)

    @fn.task
    def rate(n):
        return -n

    capsys.readouterr()
    fn.fan_out(FRAME.head(2), rate, name="b", dry_run=True)
    assert "rate was edited since some of its rows ran; 2 rows are kept" in capsys.readouterr().out


def test_bad_rows_are_refused_as_they_would_be(rate):
    with pytest.raises(fn.FlowError, match="parameter 'n': no column has this name"):
        fn.fan_out(pd.DataFrame({"m": [1]}), rate, dry_run=True)


@pytest.fixture
def written(redis, server_folder):
    """Watch the server, and give the write commands it was sent meanwhile, also those inside scripts."""
    writing = {name.upper() for name, about in redis.command().items() if "write" in map(str, about["flags"])}
    connection = fn.Connection(path=server_folder)
    with redis.monitor() as monitor:

        def commands():
            redis.echo("that is all")
            found = []
            for command in monitor.listen():
                if "that is all" in command["command"]:
                    return found
                found.append(command["command"].split()[0].upper())
            return found

        yield lambda: [command for command in commands() if command in writing]
    connection.close()


@pytest.mark.parametrize("before", [0, 2, 4], ids=["nothing", "some", "all"])
def test_the_servers_command_stream_holds_no_write(redis, before, request):
    fn.fan_out(FRAME.head(before), "rates", name="b")
    keys = sorted(redis.keys())  # no task is known, so no worker of ours is about
    written = request.getfixturevalue("written")
    fn.fan_out(FRAME, "rates", name="b", dry_run=True)
    assert written() == []
    assert sorted(redis.keys()) == keys
    fn.fan_out(FRAME, "rates", name="c")
    assert "HSET" in written()


def test_it_needs_no_right_to_write(server_folder, rate):
    watching = fn.Connection(path=server_folder, read_only=True)
    plan = fn.fan_out(FRAME, rate, name="b", connection=watching, dry_run=True)
    assert set(plan["_would"]) == {"run"}
    with pytest.raises(fn.ReadOnly):
        fn.fan_out(FRAME, rate, name="b", connection=watching)
    watching.close()


def test_it_asks_the_server_no_more_than_the_run_does(redis):
    frame = pd.DataFrame({"n": range(3000)})

    def calls(**asked) -> int:
        redis.config_resetstat()
        fn.fan_out(frame, "rates", name="asked", **asked)
        return sum(about["calls"] for about in redis.info("commandstats").values())

    assert calls(dry_run=True) < 50
    batch = fn.fan_out(frame, "rates", name="asked")
    with fn.Worker("rates", lambda job: 1):
        batch.wait(timeout=60)
    assert calls(dry_run=True) <= calls() + 10
