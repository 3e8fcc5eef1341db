"""The commands about one flow, as `watch`, `explain`, `logs` and `rm`; the exit status of an ended flow."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import flownb
from flownb.cli.console import connect, is_confirmed, print_rows
from flownb.errors import FlownbError, JobMissing, printable
from flownb.views.words import state_word

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.connection import Connection

TERMINAL_SECONDS = 0.25  # between two lines in a terminal
LONGEST_PAUSE_SECONDS = 5.0  # between two lines elsewhere, at most
QUIET_SECONDS = 10.0  # without a running job, after which `watch` says why
SUGGESTED_FLOWS = 5  # that are named where one is not found


def find_flow(name: str, connection: Connection) -> Flow:
    """Return the handle of a flow; where there is none, raise FlownbError that names some that there are."""
    try:
        return flownb.attach(name, connection=connection)
    except JobMissing:
        names = list(dict.fromkeys(flownb.flows(limit=SUGGESTED_FLOWS, connection=connection)["name"]))
        known = f"the newest are {', '.join(map(repr, names))}" if names else "there is none"
        raise FlownbError(f"there is no flow {name!r}; {known} (flownb ls lists them)") from None


def explain(options: argparse.Namespace) -> int:
    """Print what keeps a flow from ending."""
    with connect(read_only=True) as connection:
        frame = find_flow(options.flow, connection).explain()
    print_rows(frame.to_dict("records"), as_json=options.json, nothing="nothing keeps it from ending")
    return 0


def logs(options: argparse.Namespace) -> int:
    """Print what the rows of a batch have printed and logged."""
    with connect(read_only=True) as connection:
        flow = find_flow(options.flow, connection)
        if not isinstance(flow, flownb.Batch):
            raise FlownbError(
                f"flow {flow.name!r} has no rows; in Python, job.get_logs() reads the log of one job"
            )
        frame = flow.logs(grep=options.grep, level=options.level)
    text = frame.to_json(orient="records", date_format="iso", date_unit="ms", default_handler=str)
    print_rows(json.loads(text), as_json=options.json, nothing="no line")
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


def _steer(options: argparse.Namespace, act: Callable[[Flow], object], to_confirm: str | None) -> int:
    """Find the flow, ask before what cannot be undone (`to_confirm` is the verb), act, and print the state after."""
    with connect() as connection:
        flow = find_flow(options.flow, connection)
        if to_confirm and not options.yes and not is_confirmed(f"{to_confirm} {_how_far(flow)}?"):
            print("left as it is", file=sys.stderr)
            return 1
        act(flow)
        state = "removed" if to_confirm == "remove" else flow.state
        print(
            json.dumps({"name": flow.name, "state": state})
            if options.json
            else f"{printable(flow.name)}: {state_word(state)}"
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
    """Show how far a flow is until it has ended; return 0 when it has completed, else 1."""
    with connect() as connection:
        flow = find_flow(options.flow, connection)
        line = _ProgressLine(flow, as_json=options.json)
        while not has_ended(flow, line.pause):
            line.show()
        line.show(last=True)
        status, text = how_it_ended(flow)
    if not options.json:
        print(text)
    return status


def how_it_ended(flow: Flow) -> tuple[int, str]:
    """Return the exit status for a flow that has ended, and a line about its end."""
    state, name = flow.state, printable(flow.name)
    if state == "completed":
        return 0, f"{name}: completed"
    (reason,) = flow.explain().itertuples(index=False)
    return 1, f"{name}: {state}: {printable(f'{reason.job}: {reason.why}')}"


def has_ended(flow: Flow, seconds: float) -> bool:
    """Wait for a flow, at most for so many seconds; say whether it has ended."""
    try:
        flow.wait(timeout=seconds)
    except TimeoutError:
        return False
    return True


class _ProgressLine:
    """How far a flow is: one line, written over in a terminal; elsewhere a line a change, ever more rarely."""

    def __init__(self, flow: Flow, *, as_json: bool) -> None:
        self.flow = flow
        self.as_json = as_json
        self.in_place = sys.stdout.isatty() and not as_json
        self.pause = TERMINAL_SECONDS
        self._shown = ""
        self._last_active = time.monotonic()

    def show(self, *, last: bool = False) -> None:
        text = self._json() if self.as_json else _how_far(self.flow)
        if self.in_place:
            print(f"\r\x1b[K{text}", end="\n" if last else "", flush=True)
        elif text != self._shown:
            print(text, flush=True)
        self._shown = text
        if not last:
            self._print_reason()
            self.pause = TERMINAL_SECONDS if self.in_place else min(2 * self.pause, LONGEST_PAUSE_SECONDS)

    def _json(self) -> str:
        progress = self.flow.progress()
        counts = {
            word: getattr(progress, word) for word in ("completed", "failed", "active", "total", "paused")
        }
        return json.dumps({"name": self.flow.name, "state": self.flow.state, **counts})

    def _print_reason(self) -> None:
        """Say why nothing has run for a while; on stderr, so that a pipe gets the progress alone."""
        now = time.monotonic()
        if self.flow.progress().active:
            self._last_active = now
        elif now - self._last_active > QUIET_SECONDS:
            self._last_active = now
            for reason in self.flow.explain().head(1).itertuples(index=False):
                new_line = "\n" if self.in_place else ""
                print(
                    f"{new_line}{printable(f'{reason.job}: {reason.why}; {reason.fix}')}",
                    file=sys.stderr,
                    flush=True,
                )
