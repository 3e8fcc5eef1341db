"""The model of a live view: the watcher fills it, pages show it and ask it; reading errors go there as `trouble`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import anywidget
import traitlets

from flownb.api.flow import stored
from flownb.errors import FlownbError, JobMissing, printable
from flownb.state.latest_estimate import LatestEstimate
from flownb.state.stored_flow import StoredFlow
from flownb.views import live
from flownb.widgets import cell_output, failure_list, page_files, page_requests, stage_list
from flownb.widgets.job_table import JobTable
from flownb.widgets.watcher import watcher
from flownb.wire.records import FAILED, Snapshot

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.batches.stored_batch import StoredBatch
    from flownb.widgets.batch_pages import BatchPages

_HEARTBEAT_SECONDS = 4.0  # after which a view says that it lives although nothing has changed
_FAILURES_SECONDS = 2.0  # between two reads of what failed
_CATCH_UP_SECONDS = 1.0  # between two writes of what other programs' workers have left out


class FlowView(anywidget.AnyWidget):
    """A flow, live: what `flow.watch()` returns. Closing it, or its page, ends the reading.

    >>> view = add({"name": "total", "queueName": "doc-views"}).watch()
    >>> view.head["name"], view.head["state"]
    ('total', 'waiting')
    """

    # Written by `poll` under the lock, in the watcher's thread or in the one that answers pages.
    frame = traitlets.Dict().tag(sync=True)  #: where boxes and arrows go; changes with the flow's shape
    nodes = traitlets.Dict().tag(sync=True)  #: what the boxes say now
    head = traitlets.Dict().tag(sync=True)  #: name, state, counts
    failures: Any = traitlets.List().tag(sync=True)  #: failed jobs by the kind of their error
    #: has each row been read once? What fails from then on is new
    seen_all = traitlets.Bool(False).tag(sync=True)
    beat = traitlets.Dict().tag(sync=True)  #: the server's time (ms) at the last sign of life
    # Written once.
    badges = traitlets.Dict(live.badges()).tag(sync=True)
    whole = traitlets.Bool(False).tag(sync=True)  #: with table, timeline and buttons

    def __init__(self, flow: Flow, *, whole: bool = False) -> None:
        self._lock = threading.Lock()
        # Written by the thread that answers pages and runs cells.
        self._opened: dict[str, tuple[str, ...]] = {}  # jobs drawn one by one, by the first of their group
        self.picture = cell_output.SavedPicture(flow)
        self._use(flow)
        # Written by `poll`, as the traits above.
        self._drawn_shape: Any = None
        self._sent_at = self._failures_read_at = self._caught_up_at = 0.0
        self._failures_for: tuple[int, int | None] = 0, None  # the count and the end that `failures` are of
        self._esm, self._css = page_files.script(), page_files.style()
        super().__init__(whole=whole)
        self.on_msg(self._on_page_message)
        self._update(self._stored.snapshot())

    def _use(self, flow: Flow) -> None:
        """Read by this handle from now on: the connection of an older one may be closed."""
        self._flow = flow
        found = stored(flow)
        self._table = JobTable(found)
        self._batch = _batch_pages(found)
        self._estimate = LatestEstimate(found)

    @property
    def _stored(self) -> StoredFlow:
        return stored(self._flow)

    def __repr__(self) -> str:
        """In a terminal nothing else is seen of it: the tree, as it is now."""
        return f"FlowView({self._flow.name!r})" if cell_output.is_live() else str(self._flow)

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
                self._catch_up()
                return self._update(self._stored.snapshot(opened=self._opened))
            except JobMissing:
                return self._send_changes({**self.head, "state": "removed", "tone": "unknown", "actions": []})
            except FlownbError as problem:
                return self._send_changes({**self.head, "trouble": str(problem)})
            except Exception as problem:  # a reader thread that dies would leave a picture that looks alive
                return self._send_changes({**self.head, "trouble": f"{type(problem).__name__}: {problem}"})

    def _catch_up(self) -> None:
        """Write what other programs' workers have left out: not at each poll, of which it is a quarter."""
        if time.monotonic() - self._caught_up_at > _CATCH_UP_SECONDS:
            self._caught_up_at = time.monotonic()
            self._stored.flow_state.catch_up()

    def _update(self, snapshot: Snapshot) -> bool:
        estimate = self._estimate.read(snapshot.counts)
        if self._batch is not None:
            self._batch.see(snapshot.counts, estimate)
        frame = self._frame(snapshot)
        snapshot = replace(snapshot, eta=estimate.left, stopped=estimate.stopped)
        nodes = live.nodes_of(snapshot, frame)
        head = {
            **live.head_of(snapshot),
            "actions": list(page_requests.actions(self._stored, snapshot)),
            "opened": list(self._opened),
            "is_batch": self._batch is not None,
            "in_groups": self._batch is not None and self._batch.has_groups,
            "line": [] if self._batch is None else self._batch.line(snapshot),
            "compact": self._batch is not None and self._batch.fits_a_line(snapshot),
        }
        changed = self._send_changes(head, frame=frame, nodes=nodes, at=snapshot.now)
        is_all_read = self._update_failures(snapshot)
        self.picture.follow(self._flow, snapshot)
        return changed or not is_all_read

    def _frame(self, snapshot: Snapshot) -> dict[str, Any]:
        """The frame, laid out again only when the shape has changed."""
        shape = [(n.key, n.name, n.queue, n.count, n.optional, n.children) for n in snapshot.nodes]
        if self.frame and shape == self._drawn_shape:
            frame: dict[str, Any] = self.frame
            return frame
        self._drawn_shape = shape
        return live.frame_of(snapshot)

    def _send_changes(self, head: Mapping[str, Any], *, at: int | None = None, **parts: Any) -> bool:
        """Send the pages what is new, in one message; say whether anything is."""
        new = {"head": dict(head), **parts}
        changed = any(getattr(self, name) != value for name, value in new.items())
        if changed or time.monotonic() - self._sent_at > _HEARTBEAT_SECONDS:
            self._sent_at = time.monotonic()
            with self.hold_sync():
                for name, value in new.items():
                    setattr(self, name, value)
                self.beat = {"at": at or self.beat.get("at", 0), "n": self.beat.get("n", 0) + 1}
        return changed

    def _update_failures(self, snapshot: Snapshot) -> bool:
        """Read what has failed, of very many rows a piece; say whether all that has is known."""
        failed = snapshot.counts.count(FAILED)
        if not failed:
            self.seen_all = True
        # The end, too: as many jobs may fail anew between two polls, with other messages.
        failures_for = failed, snapshot.finished
        if failures_for == self._failures_for:
            return True
        is_all_read = not failed or self._batch is None or self._batch.read_on()
        if time.monotonic() - self._failures_read_at < _FAILURES_SECONDS:
            return False
        self._failures_read_at = time.monotonic()
        with self.hold_sync():
            self.failures = self._read_failures(failed) if failed else []
            self.seen_all = self.seen_all or self._batch is None or self._batch.has_seen_all
        if is_all_read:
            self._failures_for = failures_for
        return is_all_read

    def _read_failures(self, failed: int) -> list[failure_list.Entry]:
        if self._batch is not None:
            return self._batch.failures(failed)
        return failure_list.of_jobs(self._stored.snapshot(failures=True))

    # ---- from the pages --------------------------------------------------------------------------------

    def _on_page_message(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        match message.get("ask"):
            case "alive":
                watcher.watch(self, on_screen=bool(message.get("on_screen")))
            case "gone":
                watcher.forget(self)
            case _:
                self._reply(message)

    def _reply(self, message: Mapping[str, Any]) -> None:
        """Answer a page's question. Whatever goes wrong is said on the page, not in a cell."""
        began = time.perf_counter()
        try:
            answer = self._answer(message)
        except FlownbError as problem:
            answer = {"error": str(problem)}
        except Exception as problem:
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        # A page asks again the later, the longer it took.
        took_ms = round(1000 * (time.perf_counter() - began))
        self.send({"answer": message.get("number"), "took": took_ms, **answer})

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        match message.get("ask"):
            case "job":
                return page_requests.job(self._stored, message["key"])
            case "jobs":
                return self._table.page(message)
            case "timeline":
                return page_requests.timeline(self._stored, message.get("width"))
            case "open":
                jobs = page_requests.group_jobs(self._stored, message["parent"], message["key"])
                self._opened[message["key"]] = jobs
                return self._polled({})
            case "fold":
                self._opened.clear()
                return self._polled({})
            case "do":
                return self._polled(page_requests.act(self._flow, message["what"]))
            case "retry":
                return self._polled(page_requests.retry(self._flow, message))
            case "reveal":
                return self._reveal(str(message.get("text") or ""))
            case "group":
                message = {**message, "alone": self._drawn_alone() if message.get("parent") else []}
        found = self._batch and self._batch.answer(message)
        return found or self._answer_of_any(message)

    def _answer_of_any(self, message: Mapping[str, Any]) -> dict[str, Any]:
        match message.get("ask"):
            case "groups":
                return stage_list.page(self._stored.flow_state.counts(), message)
            case "group":
                return stage_list.panel(self._stored, self._stored.snapshot(opened=self._opened), message)
        return {"error": printable(f"no such question: {message.get('ask')}")}

    def _drawn_alone(self) -> list[str]:
        """The jobs that have boxes of their own: a pile beside them stands for the others."""
        return [box["key"] for box in self.frame["nodes"] if not box["folded"]]

    def _reveal(self, text: str) -> dict[str, Any]:
        """Find a row by its label, and open its pile in the tree, where that is drawn: ``{position, key}``."""
        found = self._batch and self._batch.found_row(text)
        if not found:
            return {"position": None, "key": None}
        position, key, parent = found
        boxes = self.frame["nodes"]
        pile = next((box for box in boxes if box["folded"] and box["parent"] == parent), None)
        if pile is not None and all(box["key"] != key or box["folded"] for box in boxes):
            drawn = self._opened.get(pile["key"], ())
            self._opened[pile["key"]] = tuple(dict.fromkeys([key, *drawn]))[: page_requests.MAX_DRAWN]
        return self._polled({"position": position, "key": key})

    def _polled(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.poll()
        watcher.poll_soon(self)
        return answer

    # ---- where the view is shown -----------------------------------------------------------------------

    def close(self) -> None:
        """Take the view off its pages and read no more.

        >>> add({"name": "total", "queueName": "doc-views"}).watch().close()
        """
        watcher.forget(self)
        _shown.pop((self._stored.id, self.whole), None)
        super().close()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return cell_output.bundle_of(self._flow, self if cell_output.is_live() else None), {}

    def _ipython_display_(self) -> None:
        show(self._flow, whole=self.whole)


def _batch_pages(found: StoredFlow) -> BatchPages | None:
    if found.row_queue is None:
        return None
    from flownb.widgets.batch_pages import BatchPages  # here: a flow that is no batch is shown without pandas

    return BatchPages(cast("StoredBatch", found))


# ---- the views of this kernel --------------------------------------------------------------------------

_shown: dict[tuple[str, bool], FlowView] = {}  # by flow and `whole`; written by the thread that runs cells


def view_of(flow: Flow, *, whole: bool) -> FlowView:
    """Return the one live view of a flow in this kernel: a cell that runs twice makes no second one."""
    shown = stored(flow).id, whole
    view = _shown.get(shown)
    if view is None:
        view = _shown[shown] = FlowView(flow, whole=whole)
    view._use(flow)
    return view


def show(flow: Flow, *, whole: bool = False) -> None:
    """Display a flow in the cell that runs: live where a kernel serves a page, else as a picture."""
    if cell_output.is_live():
        cell_output.display_live(flow, view_of(flow, whole=whole))
    else:
        cell_output.display_picture(flow, whole=whole)


def bundle(flow: Flow) -> dict[str, Any]:
    """A flow by MIME type, for a front end that asks for it: picture and text, and the live view if there is one."""
    return cell_output.bundle_of(flow, view_of(flow, whole=False) if cell_output.is_live() else None)
