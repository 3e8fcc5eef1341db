"""The commands about one flow: `watch`, `explain`, `retry`, `cancel` and `rm`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import flownb
from flownb.cli.console import connect, is_asked, tell
from flownb.errors import FlownbError, JobMissing
from flownb.views.words import printable

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.connection import Connection

_LOOK = 0.25  # seconds between two lines in a terminal
_SLOWEST_LOOK = 5.0  # and at most elsewhere
_SILENCE = 10.0  # seconds in which nothing runs, after which it is said why
_NAMED = 5  # flows that are named where one is not there


def find_flow(name: str, connection: Connection) -> Flow:
    """Return the handle of a flow; raise FlownbError that names some of those that are there."""
    try:
        return flownb.attach(name, connection=connection)
    except JobMissing:
        names = list(dict.fromkeys(flownb.flows(limit=_NAMED, connection=connection)["name"]))
        known = f"the newest are {', '.join(map(repr, names))}" if names else "there is none"
        raise FlownbError(f"there is no flow {name!r}; {known} (flownb ls lists them)") from None


def explain(options: argparse.Namespace) -> int:
    """Print what keeps a flow from ending."""
    with connect(read_only=True) as connection:
        frame = find_flow(options.flow, connection).explain()
    tell(frame.to_dict("records"), as_json=options.json, nothing="nothing keeps it from ending")
    return 0


def retry(options: argparse.Namespace) -> int:
    """Run again what failed."""
    return _steer(options, lambda flow: flow.retry(), None)


def cancel(options: argparse.Namespace) -> int:
    """End a flow without what has not run yet."""
    return _steer(options, lambda flow: flow.cancel(), "cancel")


def remove(options: argparse.Namespace) -> int:
    """Remove a flow with all that is stored of it."""
    return _steer(options, lambda flow: flow.remove(), "remove")


def _steer(options: argparse.Namespace, deed: Callable[[Flow], object], asked: str | None) -> int:
    with connect() as connection:
        flow = find_flow(options.flow, connection)
        if asked and not options.yes and not is_asked(f"{asked} {_how_far(flow)}?"):
            print("left as it is", file=sys.stderr)
            return 1
        deed(flow)
        state = "removed" if asked == "remove" else flow.state
        print(
            json.dumps({"name": flow.name, "state": state})
            if options.json
            else f"{printable(flow.name)}: {state}"
        )
    return 0


def _how_far(flow: Flow) -> str:
    progress = flow.progress()
    parts = [f"{progress.completed:,} of {progress.total:,} jobs completed"]
    parts += [
        f"{n:,} {state}" for state, n in (("failed", progress.failed), ("active", progress.active)) if n
    ]
    parts += ["paused"] if progress.paused else []
    return f"{printable(flow.name)}: {', '.join(parts)}"


# ---- watch ---------------------------------------------------------------------------------------------------


def watch(options: argparse.Namespace) -> int:
    """Show how far a flow is until it has ended: 0 when it has completed, 1 when not."""
    with connect() as connection:
        flow = find_flow(options.flow, connection)
        line = _Line(flow, as_json=options.json)
        while not has_ended(flow, line.pause):
            line.show()
        line.show(last=True)
        status, words = how_it_ended(flow)
    if not options.json:
        print(words)
    return status


def how_it_ended(flow: Flow) -> tuple[int, str]:
    """Return the exit status for a flow that has ended, and a line about its end."""
    state, name = flow.state, printable(flow.name)
    if state == "completed":
        return 0, f"{name}: completed"
    (reason,) = flow.explain().itertuples(index=False)
    return 1, f"{name}: {state}: {printable(f'{reason.job}: {reason.why}')}"


def has_ended(flow: Flow, seconds: float) -> bool:
    """Wait for a flow for so long at most; say whether it has ended."""
    try:
        flow.wait(timeout=seconds)
    except TimeoutError:
        return False
    return True


class _Line:
    """One line, written over itself in a terminal; elsewhere one a change, more and more rarely."""

    def __init__(self, flow: Flow, *, as_json: bool) -> None:
        self.flow = flow
        self.as_json = as_json
        self.in_place = sys.stdout.isatty() and not as_json
        self.pause = _LOOK
        self._shown = ""
        self._ran = time.monotonic()

    def show(self, *, last: bool = False) -> None:
        words = self._json() if self.as_json else _how_far(self.flow)
        if self.in_place:
            print(f"\r\x1b[K{words}", end="\n" if last else "", flush=True)
        elif words != self._shown:
            print(words, flush=True)
        self._shown = words
        if not last:
            self._say_why()
            self.pause = _LOOK if self.in_place else min(2 * self.pause, _SLOWEST_LOOK)

    def _json(self) -> str:
        progress = self.flow.progress()
        counts = {
            word: getattr(progress, word) for word in ("completed", "failed", "active", "total", "paused")
        }
        return json.dumps({"name": self.flow.name, "state": self.flow.state, **counts})

    def _say_why(self) -> None:
        """Once nothing has run for a while: on stderr, so that what is piped stays what it is."""
        now = time.monotonic()
        if self.flow.progress().active:
            self._ran = now
        elif now - self._ran > _SILENCE:
            self._ran = now
            for reason in self.flow.explain().head(1).itertuples(index=False):
                new_line = "\n" if self.in_place else ""
                print(
                    f"{new_line}{printable(f'{reason.job}: {reason.why}; {reason.fix}')}",
                    file=sys.stderr,
                    flush=True,
                )
