"""How a flow comes into a cell: a picture that stays in the notebook, and the live view that takes its place.

They are two outputs. The first is plain HTML: what a saved notebook, nbconvert and a page without its kernel
show. The second is the widget; while it lives it hides the first. So a notebook that is opened again shows
the picture, not only a widget that is gone.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flownb.api.flow import stored
from flownb.views import html
from flownb.widgets.view import FlowView, view_of, watcher
from flownb.wire.records import ACTIVE, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow

WIDGET = "application/vnd.jupyter.widget-view+json"
STATIC = "FLOWNB_STATIC"  #: the variable that turns live views off: for tests of notebooks, and for printing


def show(flow: Flow, *, whole: bool = False) -> None:
    """Display a flow in the cell that runs: live where a kernel serves a page, else as a picture."""
    from IPython.display import display, update_display

    snapshot = stored(flow).snapshot(failures=True)
    picture = _picture(flow, snapshot)
    if not is_live():
        display(picture, raw=True)
        return
    view = view_of(flow, whole=whole)
    if snapshot.finished is not None:
        display(picture, raw=True)
    else:
        shown = display(picture, raw=True, display_id=True)
        view.when_ended(
            lambda: update_display(
                _picture(flow, stored(flow).snapshot(failures=True)), raw=True, display_id=shown.display_id
            )
        )
    display({WIDGET: _model(view), "text/plain": ""}, raw=True)
    _listen()
    watcher.watch(view)


def bundle(flow: Flow, view: FlowView | None = None) -> dict[str, Any]:
    """A flow for a front end that asks for it: picture and text, and the live view where there is one."""
    found = _picture(flow, stored(flow).snapshot(failures=True))
    if is_live():
        view = view or view_of(flow, whole=False)
        found[WIDGET] = _model(view)
        _listen()
        watcher.watch(view)
    return found


def _picture(flow: Flow, snapshot: Snapshot) -> dict[str, Any]:
    if snapshot.counts.count(ACTIVE):
        snapshot = replace(snapshot, eta=flow.progress().eta)
    return {"text/plain": repr(flow), "text/html": html.flow_html(snapshot)}


def _model(view: FlowView) -> dict[str, Any]:
    return {"version_major": 2, "version_minor": 0, "model_id": view.model_id}


def is_live() -> bool:
    """Say whether this process is the kernel of a page, and views may be live."""
    from IPython.core.getipython import get_ipython

    return not os.environ.get(STATIC) and hasattr(get_ipython(), "kernel")


_listening: set[Any] = set()


def _listen() -> None:
    """Let the watcher know when a cell runs: meanwhile pages may not get through to the kernel."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None or shell in _listening:
        return
    _listening.add(shell)
    shell.events.register("pre_run_cell", lambda *_: watcher.cell_begins())
    shell.events.register("post_run_cell", lambda *_: watcher.cell_ends())
    watcher.cell_begins()  # the one that shows the flow
