"""Looking for children that came in place of others, while another thread looks."""

from __future__ import annotations

import threading

import flownb as fn
from flownb.api.flow import stored
from flownb.state import child_search
from flownb.state.child_search import ChildSearch


def test_who_finds_another_thread_looking_leaves_it_to_that_one(connection):
    children = [{"name": f"row-{n}", "queueName": "rows"} for n in range(3)]
    flow = fn.add({"name": "total", "queueName": "totals", "children": children}, connection=connection)
    looking, go_on, found = threading.Event(), threading.Event(), []

    def known(parent):
        looking.set()
        assert go_on.wait(60)
        return ()

    root = stored(flow).flow_state.shape.root
    search = ChildSearch(stored(flow).store, known)
    assert search.look([root]) == []  # begins a round
    other = threading.Thread(target=lambda: found.append(search.look([root])))
    other.start()
    assert looking.wait(60)
    assert search.look([root]) == []
    go_on.set()
    other.join(60)
    assert found == [[root]]


def test_a_child_that_the_flow_adds_while_the_search_goes_on_is_no_stranger(connection, monkeypatch):
    clock, reads = Clock(), []
    monkeypatch.setattr(child_search, "time", clock)
    children = [{"name": f"row-{n}", "queueName": "rows"} for n in range(3)]
    flow = fn.add({"name": "total", "queueName": "totals", "children": children})
    shape = stored(flow).flow_state.shape

    def known(parent):
        """What was declared when it was asked for: at first one fewer."""
        reads.append(parent)
        yield shape.children(parent)[: 2 if len(reads) == 1 else 3]

    search = ChildSearch(stored(flow).store, known)
    for _ in range(3):  # begins a round, reads what is known, compares
        assert search.look([shape.root]) == []
        clock.now += 10.0
    assert len(reads) > 1


def test_a_look_that_took_long_is_paid_for_by_a_pause(connection, monkeypatch):
    flow = fn.add(
        {"name": "total", "queueName": "totals", "children": [{"name": "row", "queueName": "rows"}]}
    )
    clock, read = Clock(), []
    monkeypatch.setattr(child_search, "time", clock)

    def known(parent):
        for piece in range(9):
            clock.now += 0.1  # so long it takes to read
            read.append(piece)
            yield [f"{parent}-{piece}"]

    root = stored(flow).flow_state.shape.root
    search = ChildSearch(stored(flow).store, known)
    search.look([root])  # begins a round
    search.look([root])
    assert read == [0]  # a piece at least, and no more
    clock.now += 4.0
    search.look([root])
    assert read == [0]  # one fiftieth of the time: five seconds after a tenth of one
    clock.now += 1.5
    search.look([root])
    assert read == [0, 1]


class Clock:
    """Stands for the module `time`."""

    now = 0.0

    def monotonic(self):
        return self.now
