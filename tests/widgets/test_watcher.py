"""The thread that reads for live views: when it looks, and when it stops."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from flownb.widgets import watcher as watching
from flownb.widgets.watcher import Watcher


class Looked:
    """A view that counts how often it was read."""

    def __init__(self, changes: bool = False) -> None:
        self.looks = 0
        self.changes = changes

    def poll(self) -> bool:
        self.looks += 1
        return self.changes


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flownb-views-reader"]


@pytest.fixture
def watcher():
    made = Watcher()
    yield made
    for watched in list(made._watched.values()):
        made.forget(watched.view)


def test_a_view_is_read_again_and_again_while_it_changes(watcher, until):
    view = Looked(changes=True)
    watcher.watch(view)
    until(lambda: view.looks >= 4)


def test_a_view_in_which_nothing_changes_is_read_less_and_less(watcher, until):
    view = Looked()
    watcher.watch(view)
    until(lambda: view.looks >= 3)
    assert watcher._watched[id(view)].interval > 2 * watching.FASTEST_SECONDS


def test_a_view_that_takes_long_to_read_is_read_less_often(watcher, until):
    looks = []

    class Large:
        def poll(self):
            began = time.monotonic()
            time.sleep(0.15)
            looks.append((began, time.monotonic()))
            return True

    watcher.watch(Large())
    until(lambda: len(looks) == 3)
    for (began, ended), (next_began, _) in itertools.pairwise(looks):
        assert next_began - ended > 3 * (ended - began)


def test_polls_take_a_small_share_of_a_core(watcher, until):
    looks = []

    class Busy:
        def poll(self):
            until_used = time.thread_time() + 0.02
            while time.thread_time() < until_used:
                pass
            looks.append(time.monotonic())
            return True

    watcher.watch(Busy())
    until(lambda: len(looks) == 4)
    assert looks[-1] - looks[0] > 3 * 0.02 / 0.03  # seconds: at most three percent of a core


def test_one_thread_reads_for_all_views_and_ends_with_the_last(watcher, until):
    views = [Looked(changes=True) for _ in range(5)]
    for view in views:
        watcher.watch(view)
    until(lambda: all(view.looks for view in views))
    assert len(readers()) == 1

    for view in views:
        watcher.forget(view)
    until(lambda: readers() == [])

    watcher.watch(views[0])
    before = views[0].looks
    until(lambda: views[0].looks > before)


def test_a_view_of_which_no_page_speaks_is_read_no_more(watcher, until, monkeypatch):
    monkeypatch.setattr(watching, "SILENCE_SECONDS", 0.3)
    view = Looked(changes=True)
    watcher.watch(view)
    until(lambda: not watcher.is_watching(view))
    until(lambda: readers() == [])


def test_silence_does_not_count_while_a_cell_runs(watcher, until, monkeypatch):
    monkeypatch.setattr(watching, "SILENCE_SECONDS", 0.1)
    view = Looked(changes=True)
    watcher.cell_begins()
    watcher.watch(view)
    until(lambda: view.looks >= 3)  # more than twice the silence that ends it
    watcher.cell_ends()
    until(lambda: not watcher.is_watching(view))


def test_a_view_off_the_screen_is_read_seldom_and_at_once_when_it_comes_back(watcher, until):
    view = Looked(changes=True)
    watcher.watch(view, on_screen=False)
    until(lambda: view.looks == 1 and watcher._watched[id(view)].interval == watching.SLOWEST_SECONDS)
    watcher.watch(view, on_screen=True)
    until(lambda: view.looks >= 2)
