"""A flow's live view: the model that pages show. The watcher fills it, pages ask it, it never raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from flownb.api.flow import stored
from flownb.errors import FlownbError, JobMissing
from flownb.views import live
from flownb.views.words import printable
from flownb.widgets import page_files, page_requests
from flownb.widgets.watcher import Watcher
from flownb.wire.records import ACTIVE, FAILED, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow

_HEARTBEAT = 4.0  # seconds after which a view says that it lives although nothing has changed
_ESTIMATE_PAUSE = 2.0  # seconds between two estimates of the time left
_FAILURES_PAUSE = 2.0  # seconds between two looks at what failed

watcher = Watcher()


class FlowView(anywidget.AnyWidget):
    """A flow, live: what `flow.watch()` returns. Closing it, or its page, ends the reading.

    >>> view = add({"name": "total", "queueName": "doc-views"}).watch()
    >>> view.head["name"], view.head["state"]
    ('total', 'waiting')
    """

    frame = traitlets.Dict().tag(sync=True)  #: where boxes and arrows stand; changes with the flow's shape
    nodes = traitlets.Dict().tag(sync=True)  #: what the boxes say now
    head = traitlets.Dict().tag(sync=True)  #: name, state, counts
    failures: Any = traitlets.List().tag(sync=True)  #: failed jobs by message
    beat = traitlets.Dict().tag(sync=True)  #: the server's time (ms) at the last sign of life
    badges = traitlets.Dict(live.badges()).tag(sync=True)
    whole = traitlets.Bool(False).tag(sync=True)  #: with table, timeline and buttons

    def __init__(self, flow: Flow, *, whole: bool = False) -> None:
        self._flow = flow
        self._opened: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._told = self._looked_at_failures = 0.0
        self._pages = page_requests.Pages(flow)
        self._when_ended: list[Callable[[], None]] = []
        self._esm, self._css = page_files.script(), page_files.style()
        super().__init__(whole=whole)
        self.on_msg(self._heard)
        self._show(stored(flow).snapshot())

    def __repr__(self) -> str:
        return f"FlowView({self._flow.name!r})"

    # ---- from the server to the pages ------------------------------------------------------------------

    def poll(self) -> bool:
        """Read the flow and show what has changed; say whether anything has.

        >>> flow = add({"name": "total", "queueName": "doc-views"})
        >>> view, flow = flow.watch(), flow.cancel()
        >>> view.poll(), view.head["state"]
        (True, 'cancelled')
        """
        with self._lock:
            try:
                stored(self._flow).flow_state.catch_up()
                return self._show(stored(self._flow).snapshot(opened=self._opened))
            except JobMissing:
                return self._say({**self.head, "state": "removed", "tone": "unknown", "actions": []})
            except FlownbError as problem:
                return self._say({**self.head, "trouble": str(problem)})
            except Exception as problem:  # a reader thread that dies would leave a picture that looks alive
                return self._say({**self.head, "trouble": f"{type(problem).__name__}: {problem}"})

    def _show(self, snapshot: Snapshot) -> bool:
        frame = self.frame
        if not frame or self._shape(snapshot) != self._drawn:
            frame = live.frame_of(snapshot)
            self._drawn = self._shape(snapshot)
        snapshot = replace(snapshot, eta=self._time_left(snapshot))
        nodes = live.nodes_of(snapshot, frame)
        head = {**live.head_of(snapshot), "actions": list(page_requests.actions(self._flow, snapshot))}
        head["opened"] = list(self._opened)
        changed = self._say(head, frame=frame, nodes=nodes, at=snapshot.now)
        self._look_at_failures(snapshot)
        if snapshot.finished is not None:
            for tell in self._when_ended:
                tell()
            self._when_ended.clear()
        return changed

    _drawn: Any = None

    @staticmethod
    def _shape(snapshot: Snapshot) -> Any:
        """What the layout depends on: it is made again only when this changes."""
        return [(n.key, n.name, n.queue, n.count, n.optional, n.children) for n in snapshot.nodes]

    def _say(self, head: Mapping[str, Any], *, at: int | None = None, **parts: Any) -> bool:
        new = {"head": dict(head), **parts}
        changed = any(getattr(self, name) != value for name, value in new.items())
        if changed or time.monotonic() - self._told > _HEARTBEAT:
            self._told = time.monotonic()
            with self.hold_sync():  # one message
                for name, value in new.items():
                    setattr(self, name, value)
                self.beat = {"at": at or self.beat.get("at", 0), "n": self.beat.get("n", 0) + 1}
        return changed

    def _time_left(self, snapshot: Snapshot) -> tuple[float, float] | None:
        if not snapshot.counts.count(ACTIVE):
            return None
        if time.monotonic() - self._estimated > _ESTIMATE_PAUSE:
            self._estimated, self._estimate = time.monotonic(), self._flow.progress().eta
        return self._estimate

    _estimated = 0.0
    _estimate: tuple[float, float] | None = None

    def _look_at_failures(self, snapshot: Snapshot) -> None:
        failed = snapshot.counts.count(FAILED)
        then = failed, snapshot.finished  # as many may fail anew between two looks, with other messages
        if then == self._failed_then or time.monotonic() - self._looked_at_failures < _FAILURES_PAUSE:
            return
        self._failed_then, self._looked_at_failures = then, time.monotonic()
        self.failures = (
            live.failure_groups(stored(self._flow).snapshot(failures=True).failures) if failed else []
        )

    _failed_then: tuple[int, int | None] = 0, None

    # ---- from the pages --------------------------------------------------------------------------------

    def _heard(self, _: Any, message: Any, __: Any) -> None:
        """Answer one message of a page. Whatever goes wrong is said there, not in a cell."""
        began = time.perf_counter()
        try:
            if message.get("ask") == "alive":
                return watcher.watch(self, on_screen=bool(message.get("on_screen")))
            if message.get("ask") == "gone":
                return watcher.forget(self)
            answer = self._answer(message)
        except FlownbError as problem:
            answer = {"error": str(problem)}
        except Exception as problem:
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        took = round(
            1000 * (time.perf_counter() - began)
        )  # ms: a page asks again the later, the longer it took
        self.send({"answer": message.get("number"), "took": took, **answer})

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        match message.get("ask"):
            case "job":
                return page_requests.job(self._flow, message["key"])
            case "jobs":
                return self._pages.page(message)
            case "timeline":
                return page_requests.timeline(self._flow)
            case "open":
                self._opened[message["key"]] = page_requests.members(
                    self._flow, message["parent"], message["key"]
                )
                return self._looked({})
            case "fold":
                self._opened.clear()
                return self._looked({})
            case "do":
                return self._looked(page_requests.act(self._flow, message["what"]))
        return {"error": printable(f"no such question: {message.get('ask')}")}

    def _looked(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.poll()
        watcher.hurry(self)
        return answer

    # ---- where it is shown -----------------------------------------------------------------------------

    def close(self) -> None:
        """Take the view off its pages and read no more.

        >>> add({"name": "total", "queueName": "doc-views"}).watch().close()
        """
        watcher.forget(self)
        _shown.pop((stored(self._flow).id, self.whole), None)
        super().close()

    def when_ended(self, tell: Callable[[], None]) -> None:
        """Call `tell` once when the flow is seen to have ended.

        >>> flow = add({"name": "total", "queueName": "doc-views"})
        >>> view, flow = flow.watch(), flow.cancel()
        >>> view.when_ended(lambda: print("it is over"))
        >>> changed = view.poll()
        it is over
        """
        self._when_ended.append(tell)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from flownb.widgets import cell_output

        return cell_output.bundle(self._flow, self), {}

    def _ipython_display_(self) -> None:
        from flownb.widgets import cell_output

        cell_output.show(self._flow, whole=self.whole)


_shown: dict[tuple[str, bool], FlowView] = {}


def view_of(flow: Flow, *, whole: bool) -> FlowView:
    """Return the one live view of a flow in this kernel: a cell that runs twice makes no second one."""
    view = _shown.get((stored(flow).id, whole))
    if view is None:
        view = _shown[stored(flow).id, whole] = FlowView(flow, whole=whole)
    view._flow = flow  # the newest handle: an older one's connection may be closed
    return view
