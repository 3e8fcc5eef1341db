"""Looking for children that came in place of others, while another thread looks."""

from __future__ import annotations

import threading

import flownb as fn
from flownb.api.flow import stored
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
