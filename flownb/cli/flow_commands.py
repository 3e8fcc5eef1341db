"""The commands about one flow, as `watch`, `explain`, `logs` and `rm`; the exit status of an ended flow."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import flownb
from flownb.api.flow import stored
from flownb.api.how_far import HowFarReader
from flownb.cli.console import as_json_text, connect, is_confirmed, print_rows
from flownb.errors import FlownbError, JobMissing, printable
from flownb.views.progress_words import how_far_in_words
from flownb.views.words import cut, state_word
from flownb.widgets import failure_list
from flownb.widgets.failure_list import Entry
from flownb.wire.records import HowFar

if TYPE_CHECKING:
    from flownb.api.flow import Flow
    from flownb.batches.row_facts import RowFacts
    from flownb.batches.stored_batch import StoredBatch
    from flownb.connection import Connection
    from flownb.widgets.batch_failures import BatchFailures

TERMINAL_SECONDS = 0.25  # between two lines in a terminal
LONGEST_PAUSE_SECONDS = 5.0  # between two lines elsewhere, at most
KINDS_SECONDS, READING_SECONDS = 2.0, 0.1  # between two reads of what failed; that one takes, of many rows
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
            kinds = self._kinds.read(far.failed, at_once=last)
            self._draw([_line(self.flow, far), *_lines_of_kinds(kinds, far.unit)], last=last)
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
        times_apart = replace(far, rate=0.0, left=None, still=float(far.still > 0))
        said = times_apart, self.flow.state if self.as_json else ""
        kinds = self._kinds.read(far.failed, at_once=last) if last or self.as_json else []
        lines = [self._json(far, kinds) if self.as_json else _line(self.flow, far)]
        if said == self._shown and (not self.as_json or not last):
            lines = []
        if last and not self.as_json:
            lines += _lines_of_kinds(kinds, far.unit)
        for line in lines:
            print(line, flush=True)
        self._shown = said

    def _json(self, far: HowFar, kinds: Sequence[Entry]) -> str:
        progress, row_queue = self.flow.progress(), stored(self.flow).row_queue or ""
        said = {
            "name": self.flow.name,
            "state": self.flow.state,
            "unit": far.unit,
            "completed": far.completed,
            "failed": far.failed,
            "active": far.running,
            "total": far.total,
            "rate": round(far.rate, 3),
            "left": far.left and [round(seconds, 1) for seconds in far.left],
            "still": round(far.still, 1),
            "paused": progress.paused,
            "spent": progress.spent,
            "kinds": {entry["kind"]: entry["count"] for entry in kinds if entry["kind"]},
        }
        if steps := progress.counts.by_step.get(row_queue):
            said["steps"] = steps
        return as_json_text(said)

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
    """The kinds of a flow's failures, as a live view lists them; read again when more have failed, now and then."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._entries: list[Entry] = []
        self._of = 0  # how many had failed
        self._is_all_read = True
        self._read_at = float("-inf")  # of the monotonic clock
        self._facts, self._of_rows = _failures_of_rows(flow)

    def read(self, failed: int, *, at_once: bool) -> list[Entry]:
        """Return an entry a kind; `at_once`: however lately they were read, and however long it takes."""
        early = time.monotonic() - self._read_at < KINDS_SECONDS and not at_once
        if (failed != self._of or not self._is_all_read) and not early:
            self._of = failed
            self._entries = self._read(failed, at_once=at_once) if failed else []
            self._read_at = time.monotonic()
        return self._entries

    def _read(self, failed: int, *, at_once: bool) -> list[Entry]:
        if self._facts is None or self._of_rows is None:
            return failure_list.of_jobs(stored(self._flow).snapshot(failures=True))
        self._is_all_read = self._facts.refresh(math.inf if at_once else READING_SECONDS)
        return self._of_rows.entries(failed)


def _failures_of_rows(flow: Flow) -> tuple[RowFacts | None, BatchFailures | None]:
    """What reads the failures of a batch; nothing of a flow that is none."""
    if stored(flow).row_queue is None:
        return None, None
    from flownb.batches.row_facts import RowFacts  # here: other flows are watched without pandas
    from flownb.widgets.batch_failures import BatchFailures

    batch = cast("StoredBatch", stored(flow))
    facts = RowFacts(batch)
    return facts, BatchFailures(batch, facts)


def _lines_of_kinds(entries: Sequence[Entry], unit: str) -> list[str]:
    """A line a kind, and one of the others."""
    known = [entry for entry in entries if entry["kind"]][:MOST_KINDS]
    lines = [f"  {entry['count']:,} × {entry['message']}" for entry in known]
    rest = sum(entry["count"] for entry in entries) - sum(entry["count"] for entry in known)
    return [*lines, f"  and {rest:,} {unit}{'' if rest == 1 else 's'} more that failed"] if rest else lines
