"""Puts a flow into a cell: a picture that stays in the notebook, and the live view that takes its place.

They are two outputs. The first is plain HTML: what a saved notebook, nbconvert and a page without its kernel
show. The second is the widget; while it lives it hides the first. So a notebook that is opened again shows
the picture, not only a widget that is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from flownb.api.flow import stored
from flownb.state.latest_estimate import LatestEstimate
from flownb.views import html
from flownb.widgets import watcher
from flownb.widgets.watcher import View
from flownb.wire.records import FlowCounts, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow

WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE_SECONDS = 30.0  #: between two pictures of a flow that runs: each is some ten kilobytes for the page
STATIC = "FLOWNB_STATIC"  #: the variable that turns live views off: for tests of notebooks, and for printing


class SavedPicture:
    """The picture of a flow that stays in the notebook, the same in every cell that shows the flow.

    It follows the flow: whenever that ends, whenever it runs again after its end, and now and then in between. Of a
    flow that has not ended it says of when it is.
    """

    def __init__(self, flow: Flow) -> None:
        self._id = f"flownb-{stored(flow).id}"
        self._drawn: tuple[int | None, FlowCounts] | None = None  # the end and the counts that cells show
        self._drawn_at = 0.0  # of the monotonic clock

    def display(self, flow: Flow) -> None:
        """Show the flow in the cell that runs."""
        from IPython.display import display

        self._draw(flow, display)

    def follow(self, flow: Flow, seen: Snapshot) -> None:
        """Draw anew what cells show of the flow, when it is time to."""
        from IPython.display import update_display

        if self._drawn is None:
            return
        finished, counts = self._drawn
        late = time.monotonic() - self._drawn_at > PICTURE_SECONDS
        if seen.finished != finished or (late and seen.counts != counts):
            self._draw(flow, update_display)

    def _draw(self, flow: Flow, show: Callable[..., Any]) -> None:
        snapshot = stored(flow).snapshot(failures=True)
        self._drawn, self._drawn_at = (snapshot.finished, snapshot.counts), time.monotonic()
        show(_picture(flow, snapshot, dated=True), raw=True, display_id=self._id)


class LiveView(View, Protocol):
    """What a cell needs of a live view."""

    picture: SavedPicture

    @property
    def model_id(self) -> str: ...


def is_live() -> bool:
    """Say whether this process is the kernel of a page, and views may be live."""
    from IPython.core.getipython import get_ipython

    return not os.environ.get(STATIC) and hasattr(get_ipython(), "kernel")


def display_picture(flow: Flow, *, whole: bool) -> None:
    """Display a flow in the cell that runs as it is now; a terminal shows one line, or the `whole` tree."""
    from IPython.display import display

    picture = _picture(flow)
    display(picture | {"text/plain": str(flow)} if whole else picture, raw=True)


def display_live(flow: Flow, view: LiveView) -> None:
    """Display a flow in the cell that runs: its picture, and its live view in the place of that."""
    from IPython.display import display

    view.picture.display(flow)
    display({**_widget(view), "text/plain": ""}, raw=True)
    _watch(view)


def bundle_of(flow: Flow, view: LiveView | None) -> dict[str, Any]:
    """A flow by MIME type, for a front end that asks for it: as a cell shows it."""
    if view is None:
        return _picture(flow)
    found = {**_picture(flow, dated=True), **_widget(view)}
    _watch(view)
    return found


def _picture(flow: Flow, snapshot: Snapshot | None = None, *, dated: bool = False) -> dict[str, Any]:
    """The flow as it is now, or at a moment, as text and as HTML."""
    snapshot = snapshot or stored(flow).snapshot(failures=True)
    estimate = LatestEstimate(stored(flow)).read(snapshot.counts)
    snapshot = replace(snapshot, eta=estimate.left, stopped=estimate.stopped)
    return {"text/plain": repr(flow), "text/html": html.flow_html(snapshot, dated=dated)}


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
