"""`flownb ls`, `watch`, `explain`, `retry`, `cancel`, `rm`, `doctor` and `worker --until`: real processes, a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import flownb
from flownb.api.producer import FlowProducer
from flownb.connection import Connection

ROWS = [
    {"name": f"row-{i}", "queueName": "cli-rows", "data": {"n": i}, "opts": {"jobId": f"r{i}"}}
    for i in range(3)
]
TREE = {"name": "report", "queueName": "cli-reports", "opts": {"jobId": "top"}, "children": ROWS}
TASKS = """
import flownb

@flownb.task(queue="cli-rows")
def row(n, job):
    if n == 2 and job.attempts_made == 0 and not job.get_logs():
        job.log("once")
        raise flownb.UnrecoverableError("no such row")
    return n

@flownb.task(queue="cli-reports")
def report(job):
    return sum(job.get_children_values().values())
"""


@pytest.fixture
def folder(terminal) -> Iterator[Connection]:
    """Give a connection to the folder's server; a module of tasks is beside it."""
    (terminal.folder / "cli_flow_tasks.py").write_text(TASKS)
    with Connection(path=terminal.data) as connection:
        yield connection


@pytest.fixture
def flow(folder) -> flownb.Flow:
    return FlowProducer(connection=folder).add(TREE, name="score-nov")


def work(connection: Connection, *, broken: str | None = None) -> flownb.Worker:
    def function(job):
        if job.name == broken:
            raise flownb.UnrecoverableError("no such row")
        return job.name

    return flownb.Worker(["cli-rows", "cli-reports"], function, connection=connection)


# ---- looking ------------------------------------------------------------------------------------------------------


def test_ls_lists_the_newest_first_in_one_line_each(terminal, folder, flow):
    other = FlowProducer(connection=folder).add({"name": "other", "queueName": "cli-others"})
    folder.client().hset(f"bull:flownb:flow:{other._stored.id}", "name", "other\x1b[31m")  # another program's
    status, out, errors = terminal.run("ls")
    assert (status, errors) == (0, "")
    head, other, score = out.splitlines()
    assert head.split() == ["flow", "name", "state", "jobs", "failed", "age", "why"]
    assert "other\\x1b[31m" in other
    assert "\x1b" not in out
    cells = re.split("  +", score)
    assert cells[:5] == ["cli-reports:top", "score-nov", "waiting for children", "0 of 4", "0"]
    assert cells[6] == "no worker serves queue 'cli-rows'"
    assert terminal.run("ls", "-q", "cli-others")[1].count("\n") == 2
    assert terminal.run("ls", "--limit", "1")[1].count("\n") == 2
    assert terminal.run("ls", "--state", "failed") == (0, "no flows\n", "")


def test_ls_as_json_is_the_frame(terminal, flow):
    status, out, _ = terminal.run("ls", "--json")
    (line,) = json.loads(out)
    assert status == 0
    assert {name: line[name] for name in ("flow", "name", "state", "completed", "failed", "total")} == {
        "flow": "cli-reports:top",
        "name": "score-nov",
        "state": "waiting-children",
        "completed": 0,
        "failed": 0,
        "total": 4,
    }


def test_explain_tells_what_the_handle_tells(terminal, flow):
    rows = flow.explain().to_dict("records")
    assert json.loads(terminal.run("explain", "score-nov", "--json")[1]) == rows
    status, out, errors = terminal.run("explain", "cli-rows:r1")  # any job of it
    assert (status, errors) == (0, "")
    assert out.splitlines()[0].split() == ["job", "why", "fix"]
    assert "no worker serves queue 'cli-rows'" in out


def test_logs_shows_what_rows_have_printed(terminal, folder, flow):
    @flownb.task
    def tell(n):
        print("row", n)

    with flownb.workers(connection=folder):
        flownb.fan_out([0, 1], tell, name="told", connection=folder).wait(timeout=60)
    (line,) = json.loads(terminal.run("logs", "told", "--grep", "1", "--json")[1])
    assert line.pop("time").endswith("Z")
    assert line == {"label": 1, "attempt": 1, "stream": "stdout", "line": "row 1"}
    status, out, errors = terminal.run("logs", "told")
    assert (status, errors) == (0, "")
    assert [words.split()[-2:] for words in out.splitlines()[1:]] == [["row", "0"], ["row", "1"]]
    assert terminal.run("logs", "told", "--level", "error") == (0, "no line\n", "")
    assert terminal.run("logs", "score-nov") == (
        1,
        "",
        "flownb logs: flow 'score-nov' has no rows; in Python, job.get_logs() reads the log of one job\n",
    )


def test_watch_prints_a_line_a_change_and_its_status_is_the_flows_end(terminal, folder, flow):
    watching = terminal.start("watch", "score-nov")
    assert watching.stdout.readline() == "score-nov: 0 of 4 jobs completed\n"
    with work(folder):
        out, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert out.splitlines()[-2:] == ["score-nov: 4 of 4 jobs completed", "score-nov: completed"]


def test_watch_of_a_failed_flow_says_what_failed_it(terminal, folder, flow):
    with work(folder, broken="row-2"):
        flow.wait(timeout=30)
    status, out, errors = terminal.run("watch", "score-nov")
    assert (status, errors) == (1, "")
    assert out.splitlines()[-1] == (
        "score-nov: failed: report > row-2: it failed: UnrecoverableError: no such row"
    )
    status, out, _ = terminal.run("watch", "score-nov", "--json")
    assert status == 1
    assert json.loads(out.splitlines()[-1])["state"] == "failed"


def test_watch_says_why_nothing_happens(terminal, flow):
    watching = terminal.start("watch", "score-nov")
    assert watching.stderr.readline().startswith(
        "report > row-0 and 2 more: no worker serves queue 'cli-rows'; start one"
    )


# ---- a person at a terminal ----------------------------------------------------------------------------------------


class Screen:
    """A command in a pseudo-terminal: what a person sees, and types."""

    def __init__(self, terminal, *words):
        self._end, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flownb", *words],
            cwd=terminal.folder,
            env={**terminal.environment, "TERM": "xterm"},
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        self.seen = ""

    def read_until(self, words):
        while words not in self.seen:
            assert select.select([self._end], [], [], 60)[0], self.seen
            self.seen += os.read(self._end, 4096).decode()

    def type(self, words):
        os.write(self._end, words.encode())

    def wait(self):
        try:
            while chunk := os.read(self._end, 4096):
                self.seen += chunk.decode()
        except OSError:  # how a terminal ends
            pass
        os.close(self._end)
        return self.process.wait(60)


def test_in_a_terminal_watch_writes_one_line_over_itself(terminal, folder, flow):
    screen = Screen(terminal, "watch", "score-nov")
    screen.read_until("\r\x1b[Kscore-nov: 0 of 4 jobs completed")
    assert "\n" not in screen.seen
    with work(folder):
        assert screen.wait() == 0
    assert screen.seen.splitlines()[-1] == "score-nov: completed"
    assert screen.seen.count("\n") == 2


def test_watch_of_a_batch_counts_rows_and_tells_the_kinds_of_failures(terminal, folder):
    hold = threading.Event()

    @flownb.task
    def price(n):
        hold.wait()
        if n % 10 == 3:
            raise ValueError(f"no tax for order {n}")
        if n == 17:
            raise KeyError("rate")

    batch = flownb.fan_out(range(40), price, name="prices", connection=folder)
    screen = Screen(terminal, "watch", "prices")
    screen.read_until("prices: 0 of 40 rows completed")
    hold.set()
    batch.wait(timeout=60)
    assert screen.wait() == 0
    kinds = ["  4 × ValueError: no tax for order …", "  1 × KeyError: 'rate'"]
    drawn = screen.seen.rpartition("\x1b[K" if "\x1b[J" not in screen.seen else "\x1b[J")[2].splitlines()
    assert drawn == ["prices: 35 of 40 rows completed, 5 failed", *kinds, "prices: completed"]
    status, out, errors = terminal.run("watch", "prices")
    assert (status, out.splitlines(), errors) == (0, drawn, "")


def test_watch_with_json_prints_a_line_a_change_that_a_program_reads(terminal, folder):
    @flownb.task
    def fetch(n):
        flownb.spend(usd=0.25)
        if n % 10 == 3:
            raise ValueError(f"no page {n}")
        return {"page": n}

    @flownb.task
    def parse(page):
        if page == 7:
            raise KeyError("title")
        return {"title": page}

    batch = flownb.fan_out(range(200), [fetch, parse], name="pages", connection=folder)
    batch.wait(timeout=60)
    status, out, errors = terminal.run("watch", "pages", "--json")
    assert (status, errors) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {
        "name": "pages",
        "state": "completed",
        "unit": "row",
        "completed": 179,
        "failed": 21,
        "active": 0,
        "total": 200,
        "rate": 0.0,
        "left": None,
        "still": 0.0,
        "paused": None,
        "spent": {"usd": 50.0},
        "kinds": {"ValueError: no page <n>": 20, "KeyError: <q>": 1},
        "steps": {"fetch": {"completed": 180, "failed": 20}, "parse": {"completed": 179, "failed": 1}},
    }


def test_watch_with_json_says_while_rows_end_how_fast_and_how_long_yet(terminal, folder):
    go_on = threading.Semaphore(0)

    @flownb.task
    def price(n):
        assert go_on.acquire(timeout=60)

    batch = flownb.fan_out(range(40), price, name="prices", connection=folder, rows_per_job=1)
    watching = terminal.start("watch", "prices", "--json")
    lines = [json.loads(watching.stdout.readline())]
    while not (lines[-1]["rate"] and lines[-1]["left"]) and len(lines) < 39:
        go_on.release()
        lines.append(json.loads(watching.stdout.readline()))
    assert lines[-1]["rate"] > 0
    assert len(lines[-1]["left"]) == 2
    assert (lines[0]["unit"], lines[0]["total"], lines[-1]["active"]) == ("row", 40, 4)
    go_on.release(40)
    batch.wait(timeout=60)
    out, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["state"], last["completed"], last["kinds"]) == ("completed", 40, {})


def test_watch_says_since_when_nothing_has_ended_in_a_line_of_its_own(terminal, folder):
    go_on = threading.Semaphore(20)

    @flownb.task
    def price(n):
        assert go_on.acquire(timeout=60)

    batch = flownb.fan_out(range(40), price, name="prices", connection=folder, rows_per_job=1)
    watching = terminal.start("watch", "prices")
    lines = [watching.stdout.readline()]
    while "nothing has ended for" not in lines[-1]:
        assert lines[-1], lines
        lines.append(watching.stdout.readline())
    assert re.search(r"20 of 40 rows completed, 4 running · nothing has ended for \d+ s$", lines[-1])
    go_on.release(20)
    batch.wait(timeout=60)
    out, _ = watching.communicate(timeout=60)
    assert "nothing has ended" not in out  # once is enough


def test_watch_counts_the_kinds_of_more_failures_than_a_picture_shows(terminal, folder):
    @flownb.task
    def fail(n):
        raise ValueError(f"no {['tax', 'price'][n % 2]} for {n}")

    flownb.fan_out(range(400), fail, name="all-failed", connection=folder).wait(timeout=60)
    _, out, _ = terminal.run("watch", "all-failed")
    kinds = ["  200 × ValueError: no tax for …", "  200 × ValueError: no price for …"]
    assert out.splitlines()[1:-1] == kinds


@pytest.mark.parametrize(
    ("command", "question", "state"),
    [
        ("cancel", "cancel score-nov: 0 of 4 jobs completed? [y/N] ", "cancelled"),
        ("rm", "remove score-nov: 0 of 4 jobs completed? [y/N] ", "removed"),
    ],
)
def test_in_a_terminal_it_asks_once_before_what_cannot_be_undone(terminal, flow, command, question, state):
    for answer in ("\n", "n\n"):
        screen = Screen(terminal, command, "score-nov")
        screen.read_until(question)
        screen.type(answer)
        assert screen.wait() == 1
        assert "left as it is" in screen.seen
        assert flow.state == "waiting-children"
    screen = Screen(terminal, command, "score-nov")
    screen.read_until(question)
    screen.type("y\n")
    assert screen.wait() == 0
    assert screen.seen.splitlines()[-1] == f"score-nov: {state}"


@pytest.mark.parametrize("command", ["cancel", "rm"])
def test_told_so_it_does_not_ask(terminal, flow, command):
    screen = Screen(terminal, command, "score-nov", "--yes")
    assert screen.wait() == 0
    assert "[y/N]" not in screen.seen


# ---- steering -----------------------------------------------------------------------------------------------------


def test_retry_cancel_and_rm_do_what_the_handle_does(terminal, folder, flow):
    with work(folder, broken="row-2"):
        flow.wait(timeout=30)
    assert terminal.run("retry", "score-nov") == (0, "score-nov: waiting for children\n", "")
    assert terminal.run("cancel", "score-nov", "--json") == (
        0,
        '{"name": "score-nov", "state": "cancelled"}\n',
        "",
    )
    assert flow.state == "cancelled"
    assert terminal.run("rm", "score-nov") == (0, "score-nov: removed\n", "")
    assert terminal.run("ls", "--json")[1] == "[]\n"


@pytest.mark.parametrize("command", ["watch", "explain", "logs", "retry", "cancel", "rm"])
def test_an_unknown_flow_is_one_line_that_names_those_there_are(terminal, flow, command):
    assert terminal.run(command, "score-now") == (
        1,
        "",
        f"flownb {command}: there is no flow 'score-now'; the newest are 'score-nov' (flownb ls lists them)\n",
    )


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("doctor",),
        ("watch", "f"),
        ("explain", "f"),
        ("logs", "f"),
        ("retry", "f"),
        ("cancel", "f"),
        ("rm", "f"),
    ],
)
def test_where_there_is_nothing_it_makes_nothing_and_shows_no_password(terminal, words):
    status, out, errors = terminal.run(*words)
    assert (status, out) == (1, "")
    assert errors.startswith(f"flownb {words[0]}: there is no .flownb here or above to join")
    assert not terminal.data.exists()
    status, out, errors = terminal.run(*words, FLOWNB_URL="redis://me:s3cret@127.0.0.1:1/0")
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"flownb {words[0]}: no server at redis://127.0.0.1:1/0")
    assert "s3cret" not in errors


@pytest.mark.parametrize(
    "words", [("ls", "--limit", "0"), ("ls", "--state", "lost"), ("watch",), ("rm", "a", "b")]
)
def test_wrong_usage_is_2(terminal, words):
    status, out, errors = terminal.run(*words)
    assert (status, out) == (2, "")
    assert "Traceback" not in errors


# ---- doctor -------------------------------------------------------------------------------------------------------


def test_r14_doctor_names_parents_that_wait_in_vain_and_with_fix_lets_them_go_on(terminal, folder, flow):
    assert terminal.run("doctor") == (0, "all is well\n", "")
    client = folder.client()
    client.delete("bull:cli-rows:r0", "bull:cli-rows:r1", "bull:cli-rows:r2", "bull:cli-rows:wait")

    status, out, errors = terminal.run("doctor")

    assert (status, errors) == (1, "")
    assert out.splitlines()[0].split() == ["job", "what", "fix"]
    assert out.splitlines()[1].startswith(
        "cli-reports:top  it waits for cli-rows:r0, cli-rows:r1, cli-rows:r2, which are gone  "
    )
    status, out, _ = terminal.run("doctor", "-q", "cli-reports", "--json")
    assert status == 1
    assert [(line["job"], line["mended"]) for line in json.loads(out)] == [("cli-reports:top", False)]
    status, out, _ = terminal.run("doctor", "--fix")
    assert status == 0
    assert "mended: let it go on without them" in out
    assert terminal.run("doctor", "--fix", "--json") == (0, "[]\n", "")
    with work(folder):
        assert flow.result(timeout=30) == "report"


def test_doctor_ends_with_1_where_something_is_left_to_a_person(terminal, folder, flow):
    folder.client().hset("bull:cli-rows:r1", "finishedOn", "1")
    status, out, _ = terminal.run("doctor", "--fix")
    assert status == 1
    assert "Queue('cli-rows').get_job('r1').remove()" in out


# ---- worker --until -----------------------------------------------------------------------------------------------


def test_a_worker_works_until_a_flow_has_ended(terminal, folder, flow):
    status, out, errors = terminal.run("worker", "cli_flow_tasks", "--until", "score-nov")
    assert (status, errors) == (1, "")
    assert out.splitlines()[-1].startswith("flownb worker: score-nov: failed: report > row-2")
    flow.retry()
    status, out, errors = terminal.run("worker", "cli_flow_tasks", "--until", "score-nov")
    assert (status, errors) == (0, "")
    assert out.splitlines()[-1] == "flownb worker: score-nov: completed"
    assert flow.result(timeout=0) == 3


def test_a_worker_for_an_unknown_flow_is_refused(terminal, folder, flow):
    status, out, errors = terminal.run("worker", "cli_flow_tasks", "--until", "score-now")
    assert (status, out) == (1, "")
    assert errors == (
        "flownb worker: there is no flow 'score-now'; the newest are 'score-nov' (flownb ls lists them)\n"
    )


def test_what_only_looks_needs_no_right_to_write(terminal, own_server):
    with Connection(own_server.url) as writing:
        FlowProducer(connection=writing).add(TREE, name="score-nov")
        rights = {"keys": ["*"], "categories": ["+@read"], "commands": ["+ping", "+time"]}
        writing.client().acl_setuser("looker", enabled=True, passwords=["+s3cret"], **rights)
    url = f"unix://looker:s3cret@{own_server.socket}"
    for words in (("ls",), ("explain", "score-nov"), ("doctor",)):
        status, _, errors = terminal.run(*words, FLOWNB_URL=url)
        assert (status, errors) == (0, "")
    status, out, errors = terminal.run("cancel", "score-nov", FLOWNB_URL=url)
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert "s3cret" not in errors


def test_prune_removes_what_has_ended_and_says_what(terminal, folder, flow):
    assert terminal.run("prune")[::2] == (
        1,
        "flownb prune: prune: say which flows: older_than='7d', state='completed', or both\n",
    )
    assert terminal.run("prune", "--older-than", "0s") == (0, "nothing to remove\n", "")
    flow.cancel()
    status, told, _ = terminal.run("prune", "--older-than", "0s", "--dry-run", "--json")
    assert (status, [row["name"] for row in json.loads(told)]) == (0, ["score-nov"])
    status, told, _ = terminal.run("prune", "--state", "cancelled")
    assert (status, told.splitlines()[1].split()[:3]) == (0, ["cli-reports:top", "score-nov", "cancelled"])
    assert terminal.run("ls") == (0, "no flows\n", "")


def test_du_says_what_each_flow_takes(terminal, folder, flow):
    status, told, _ = terminal.run("du")
    lines = [line.split() for line in told.splitlines()]
    assert (status, lines[0]) == (0, ["flow", "name", "state", "jobs", "server", "files"])
    assert lines[1][:6] == ["cli-reports:top", "score-nov", "waiting", "for", "children", "4"]
    assert lines[2][0] == "all"
    assert json.loads(terminal.run("du", "--json")[1])[0]["server"] > 500
