"""Puts a flow into a cell: a picture that stays in the notebook, and the live view that takes its place.

They are two outputs. The first is plain HTML: what a saved notebook, nbconvert and a page without its kernel
show. The second is the widget; while it lives it hides the first. So a notebook that is opened again shows
the picture, not only a widget that is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from flownb.api.flow import stored
from flownb.views import html
from flownb.widgets import watcher
from flownb.widgets.watcher import View
from flownb.wire.records import ACTIVE, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow

WIDGET = "application/vnd.jupyter.widget-view+json"
STATIC = "FLOWNB_STATIC"  #: the variable that turns live views off: for tests of notebooks, and for printing


class LiveView(View, Protocol):
    """What a cell needs of a live view."""

    @property
    def model_id(self) -> str: ...

    def when_ended(self, tell: Callable[[], None]) -> None: ...


def is_live() -> bool:
    """Say whether this process is the kernel of a page, and views may be live."""
    from IPython.core.getipython import get_ipython

    return not os.environ.get(STATIC) and hasattr(get_ipython(), "kernel")


def display_flow(flow: Flow, view: LiveView | None) -> None:
    """Display a flow in the cell that runs: its picture, and its live view where there is one."""
    from IPython.display import display, update_display

    snapshot = stored(flow).snapshot(failures=True)
    picture = _picture(flow, snapshot)
    if view is None or snapshot.finished is not None:
        display(picture, raw=True)
    else:
        shown = display(picture, raw=True, display_id=True)
        view.when_ended(lambda: update_display(_picture(flow), raw=True, display_id=shown.display_id))
    if view is not None:
        display({**_widget(view), "text/plain": ""}, raw=True)
        _watch(view)


def bundle_of(flow: Flow, view: LiveView | None) -> dict[str, Any]:
    """A flow by MIME type, for a front end that asks for it: as `display_flow` shows it."""
    if view is None:
        return _picture(flow)
    found = {**_picture(flow), **_widget(view)}
    _watch(view)
    return found


def _picture(flow: Flow, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """The flow as it is now, or at a moment, as text and as HTML."""
    snapshot = snapshot or stored(flow).snapshot(failures=True)
    if snapshot.counts.count(ACTIVE):
        snapshot = replace(snapshot, eta=flow.progress().eta)
    return {"text/plain": repr(flow), "text/html": html.flow_html(snapshot)}


def _widget(view: LiveView) -> dict[str, Any]:
    return {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": view.model_id}}


def _watch(view: LiveView) -> None:
    _tell_watcher_of_cells()
    watcher.watcher.watch(view)


_followed_shells: set[Any] = set()


def _tell_watcher_of_cells() -> None:
    """Let the watcher know when a cell runs: meanwhile pages may not get through to the kernel."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None or shell in _followed_shells:
        return
    _followed_shells.add(shell)
    shell.events.register("pre_run_cell", lambda *_: watcher.watcher.cell_begins())
    shell.events.register("post_run_cell", lambda *_: watcher.watcher.cell_ends())
    watcher.watcher.cell_begins()  # the one that shows the flow
