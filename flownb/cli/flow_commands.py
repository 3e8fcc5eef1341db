"""The commands about one flow, as `watch`, `explain`, `logs` and `rm`; the exit status of an ended flow."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import flownb
from flownb.api.flow import stored
from flownb.api.how_far import HowFarReader
from flownb.cli.console import connect, is_confirmed, print_rows
from flownb.errors import FlownbError, JobMissing, printable
from flownb.views import failure_groups
from flownb.views.progress_words import how_far_in_words
from flownb.views.words import cut, first_line, state_word
from flownb.wire.records import HowFar

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.connection import Connection

TERMINAL_SECONDS = 0.25  # between two lines in a terminal
LONGEST_PAUSE_SECONDS = 5.0  # between two lines elsewhere, at most
KINDS_SECONDS = 2.0  # between two reads of what failed
MOST_KINDS = 5  # of failures, below the line
QUIET_SECONDS = 10.0  # without a running job, after which `watch` says why
_ENDED = ("completed", "failed", "cancelled")
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


def pause(options: argparse.Namespace) -> int:
    """Let no further job of a flow start."""
    return _steer(options, lambda flow: flow.pause(), None)


def resume(options: argparse.Namespace) -> int:
    """Let a paused flow go on, a batch with other brakes where some are given."""
    brakes = {"budget": dict(options.budget) or None, "max_failures": options.max_failures}
    given = {name: value for name, value in brakes.items() if value is not None}

    def go_on(flow: Flow) -> None:
        if not isinstance(flow, flownb.Batch):
            if given:
                raise FlownbError(f"flow {flow.name!r} is no batch, and has neither budget nor max_failures")
            flow.resume()
        else:
            flow.resume(**given)

    return _steer(options, go_on, None)


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
        state = "removed" if to_confirm == "remove" else _state_now(flow)
        print(
            json.dumps({"name": flow.name, "state": state})
            if options.json
            else f"{printable(flow.name)}: {state_word(state)}"
        )
    return 0


def _state_now(flow: Flow) -> str:
    return "paused" if flow.progress().paused and flow.state not in _ENDED else flow.state


def _how_far(flow: Flow) -> str:
    return _line(flow, HowFarReader(stored(flow), flow.progress).read())


def _line(flow: Flow, how_far: HowFar) -> str:
    return printable(f"{flow.name}: {how_far_in_words(how_far)}")


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
    if state not in _ENDED:
        return 1, f"{name}: paused: {printable(str(flow.progress().paused))}; flownb resume goes on"
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
    """How far a flow is: a line that is written over in a terminal, with the kinds of failures below it.

    Elsewhere it is a line a change, ever more rarely, and the kinds come last.
    """

    def __init__(self, flow: Flow, *, as_json: bool) -> None:
        self.flow = flow
        self._reader = HowFarReader(stored(flow), flow.progress)
        self._kinds = _FailureKinds(flow)
        self._below = 0  # lines below the first one, in a terminal
        self.as_json = as_json
        self.in_place = sys.stdout.isatty() and not as_json
        self.pause = TERMINAL_SECONDS
        self._shown: object = None  # what the last line said, but for the times
        self._last_active = time.monotonic()

    def show(self, *, last: bool = False) -> None:
        far = self._reader.read()
        if self.in_place:
            self._draw([_line(self.flow, far), *self._kinds.lines(far.failed, at_once=last)], last=last)
        else:
            self._print_change(far, last=last)
        if not last:
            self._print_reason()
            self.pause = TERMINAL_SECONDS if self.in_place else min(2 * self.pause, LONGEST_PAUSE_SECONDS)

    def _draw(self, lines: list[str], *, last: bool) -> None:
        """Write over what was drawn before; no line may be wrapped, as that could not be taken back."""
        width = shutil.get_terminal_size().columns - 1
        back = f"\r\x1b[{self._below}A\x1b[J" if self._below else "\r\x1b[K"
        self._below = len(lines) - 1
        print(back + "\n".join(cut(line, width) for line in lines), end="\n" if last else "", flush=True)

    def _print_change(self, far: HowFar, *, last: bool) -> None:
        text = self._json() if self.as_json else _line(self.flow, far)
        said = text if self.as_json else replace(far, rate=0.0, left=None)
        lines = [text] if said != self._shown else []
        if last and not self.as_json:
            lines += self._kinds.lines(far.failed, at_once=True)
        for line in lines:
            print(line, flush=True)
        self._shown = said

    def _json(self) -> str:
        progress = self.flow.progress()
        counts = {
            word: getattr(progress, word)
            for word in ("completed", "failed", "active", "total", "paused", "spent")
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
                self._below = 0  # what was drawn stays
                print(
                    f"{new_line}{printable(f'{reason.job}: {reason.why}; {reason.fix}')}",
                    file=sys.stderr,
                    flush=True,
                )


class _FailureKinds:
    """The kinds of a flow's failures, the most frequent first; read again when more have failed, now and then."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._lines: list[str] = []
        self._of = 0  # how many had failed
        self._read_at = float("-inf")  # of the monotonic clock

    def lines(self, failed: int, *, at_once: bool) -> list[str]:
        """Return a line a kind; `at_once`: however lately they were read."""
        early = time.monotonic() - self._read_at < KINDS_SECONDS and not at_once
        if failed != self._of and not early:
            self._of, self._read_at = failed, time.monotonic()
            self._lines = self._read() if failed else []
        return self._lines

    def _read(self) -> list[str]:
        snapshot = stored(self._flow).snapshot(failures=True)
        groups = failure_groups.by_kind(snapshot.failures)
        lines = [
            f"  {len(group.records):,} × {first_line(group.message, 200)}" for group in groups[:MOST_KINDS]
        ]
        rest = sum(len(group.records) for group in groups[MOST_KINDS:]) + failure_groups.unread(snapshot)
        return [*lines, f"  {failure_groups.rest_in_words(rest)}"] if rest else lines
