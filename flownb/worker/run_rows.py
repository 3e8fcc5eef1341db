"""Running a job that holds many rows: each runs as if it were a job of its own, and what is done is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from flownb.api.job import Job
from flownb.errors import FlowError, RateLimitError, ServerError, UnrecoverableError
from flownb.tasks.binding import UnknownTask
from flownb.wire import codec, keys
from flownb.wire.many_rows import MOST_ROWS, RowsValue, bind_of, data_of, refer
from flownb.wire.records import POLICIES
from flownb.wire.store import Store, Taken
from flownb.worker.run import Outcome, Work, _about, _held, failed, judge, put_off, run_one

SAVE = 1.0  #: seconds of work after which the rows that are done are written down
MOST_TEXT = 4_000_000  #: characters of values after which a job hands on the rest of its rows
PATIENCE = 300  #: times to ask a server that is away, five a second
MOST_TRACE = 4_000  #: characters of a row's traceback


def run_rows(taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> Outcome:
    """Run the rows of a job that are open yet and return the job's outcome; whatever happens, this returns."""
    rows = _Rows(taken, work, store)
    try:
        rows.resume()
        if taken.deferred is not None:
            return rows.told(run_one(taken, work, store, await_))
        return rows.run(await_)
    except UnknownTask:
        return put_off(taken)
    except BaseException as error:
        return rows.told(judge(taken, error, work, rows.job))


class _RowJob(Job):
    """A row's job, as the function sees it."""

    __slots__ = ()

    def update_data(self, data: Any) -> None:
        raise FlowError("update_data: this row shares its job with others; give rows_per_job=1")

    def add_children(self, children: Iterable[Any]) -> list[Any]:
        raise FlowError("add_children: this row shares its job with others; give rows_per_job=1")


class _Rows:
    """The rows of one job on their way. An outcome's ``rows`` are how many were done and how many failed by it."""

    def __init__(self, taken: Taken, work: Work, store: Store) -> None:
        self.taken = taken
        self.work = work
        self.record = taken.record
        self.job = _RowJob(taken.record, store=store)
        self.alone = dataclasses.replace(taken.record, bind=None, stacktrace="[]")
        self.store = store
        self.bind: dict[str, Any] = json.loads(taken.record.bind or "{}")
        self.value = RowsValue()
        self.rows: list[Any] = []
        self.texts: list[str] = []  #: of the values
        self.size = 0  #: of what this run has added to them
        self.open: list[int] = []
        self.again: list[int] = []  #: failed in this run, and worth another
        self.last: Outcome = {}  #: what the last of these would have ended a job of its own with
        self.ended = [0, 0]  #: in this run: done, and failed for good

    def resume(self) -> None:
        """Find out which rows are open: all of them, or those an earlier run has left."""
        self.rows = codec.decode(self.record.data)["rows"]
        part = None
        if self.record.attempts_started > 1:
            part = _surely(lambda: self.store.read_part(self.record.key))
        if part is None:
            self.open = list(range(len(self.rows)))
            self.value = RowsValue(seconds=[0.0] * len(self.rows))
            self.texts = ["null"] * len(self.rows)
            return
        self.value = RowsValue.read(part)
        self.texts = [codec.encode(value, "value") for value in self.value.values]
        self.open = sorted(self.value.errors) if self.value.open is None else self.value.open
        if self.value.rest:  # it had begun to hand on the others
            self._hand_on()

    def run(self, await_: Callable[[Any], Any]) -> Outcome:
        started = saved = time.monotonic()
        for n, place in enumerate(self.open):
            now = time.monotonic()
            left = self.open[n:]
            if n and self._is_enough(now - started, n, len(left)):
                self._cut(place, (now - started) / n)
                break
            if now - saved > SAVE:
                self._save([*self.again, *left])
                saved = now
            job = self._job(place)
            try:
                value = self.work.processor(job)
                if inspect.isawaitable(value):
                    value = await_(value)
                self._done(place, value)
            except RateLimitError as error:
                self._save([*self.again, *left])
                return self.told({**_held(self.taken, error, self.work, job), "rows": self.ended})
            except UnknownTask:
                raise
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                self._failed(place, error, job)
            self.value.seconds[place] = round(time.monotonic() - now, 3)
        if "slice" in self.bind and self.open:
            took = (time.monotonic() - started) / len(self.open)
            with contextlib.suppress(ServerError):
                self.store.note_run_time(self.record.queue, self.record.name, took)
        return self._outcome()

    def told(self, outcome: Outcome) -> Outcome:
        """The outcome of the job as a whole, which the rows that are open share."""
        return {**outcome, "rows": [0, len(self.open)]} if outcome["kind"] == "failed" else outcome

    # ---- one row ------------------------------------------------------------------------------------

    def _job(self, place: int) -> Job:
        if "large" in self.bind:  # the row itself stays as it is stored: it may be handed on
            text, bind = codec.encode(self.rows[place], "row"), refer(None, self.bind["large"])
            return _RowJob(dataclasses.replace(self.alone, data=text, bind=bind), store=self.store)
        job = _RowJob(self.alone, store=self.store)
        job._data = self.rows[place]
        return job

    def _done(self, place: int, value: Any) -> None:
        try:
            self.texts[place] = codec.encode(value, "the returned value", nan="null")
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None
        self.size += len(self.texts[place])
        self.value.errors.pop(place, None)
        if self.record.attempts_made:
            self.value.attempts[place] = self.record.attempts_made + 1
        self.ended[0] += 1

    def _failed(self, place: int, error: BaseException, job: Job) -> None:
        outcome = judge(self.taken, error, self.work, job)
        trace = json.loads(outcome["stacktrace"])[-1:] or [""]
        self.value.errors[place] = {
            "error": outcome["reason"],
            "attempts": self.record.attempts_made + 1,
            "traceback": trace[0][-MOST_TRACE:],
            **({"why": outcome["why"]} if outcome.get("why") else {}),
        }
        if outcome["kind"] == "retry":
            self.again.append(place)
            self.last = outcome
        else:
            self.ended[1] += 1

    # ---- the rows behind ----------------------------------------------------------------------------

    def _is_enough(self, seconds: float, run: int, left: int) -> bool:
        """Has the job had its time, with as much before it? Only of a first run, whose rows are whole."""
        if len(self.open) < len(self.rows) or self.value.rest:
            return False
        slice_ = self.bind.get("slice", 0) / 1000
        is_long = slice_ and seconds >= slice_ and seconds / run * left > slice_
        if not (is_long or self.size > MOST_TEXT):
            return False
        shared = _surely(lambda: self.store.read_parents([self.record.key]))
        return not shared[self.record.key]  # another flow waits for all of its rows

    def _cut(self, place: int, seconds: float) -> None:
        """Keep the rows before `place`; the others go on in jobs of as many as fit into the time."""
        fit = round(self.bind.get("slice", 0) / 1000 / seconds) if seconds else MOST_ROWS
        self.value.rest = max(1, min(fit or place, MOST_ROWS))
        self.texts, self.value.seconds = self.texts[:place], self.value.seconds[:place]
        self._save(self.again)
        self._hand_on()

    def _hand_on(self) -> None:
        """Store the jobs for the rest, then forget it here. Done again after a crash, it adds nothing twice."""
        kept, size = len(self.texts), self.value.rest or 1
        rest = [codec.encode(row, "row") for row in self.rows[kept:]]
        if not rest:
            return
        record, base = self.record, self.taken.base
        first = self.bind["first"] + kept
        jobs, ids = [], []
        for number, start in enumerate(range(0, len(rest), size), 1):
            some = rest[start : start + size]
            ids.append(f"{record.id}-{number}")
            bind = bind_of(len(some), first + start, self.bind.get("slice"))
            if "large" in self.bind:
                bind = refer(bind, self.bind["large"])
            jobs.append(
                [1, ids[-1], record.name, data_of(some), 1, 1, 0, record.priority, False, False, bind]
            )
        policy = next(word for word in POLICIES if f'"{word}":' in (record.parent or ""))
        piece = codec.pack_children([base] * len(ids), ids)
        place = keys.own(self.store.prefix, "children", record.parent_key or ""), str(_BEHIND + first), piece
        _surely(
            lambda: self.store.add_jobs(
                [base],
                jobs=jobs,
                opts=[record.opts],
                parents=[[record.parent_key, record.parent, policy, True]],
                record={"id": record.flow, "fields": [], "named": None, "stored": False},
                chunks=[place],
            )
        )
        self._write("data", data_of([codec.encode(row, "row") for row in self.rows[:kept]]))
        self.rows = self.rows[:kept]
        self.open = [place for place in self.open if place < kept]

    # ---- what becomes of the job --------------------------------------------------------------------

    def _save(self, open: list[int]) -> None:
        part = dataclasses.replace(self.value, open=open)
        self._write("part", part.text(self.texts))

    def _write(self, field: str, text: str) -> None:
        _surely(lambda: self.store.update_job(self.taken.base, self.record.id, field, text))

    def _outcome(self) -> Outcome:
        if self.again:
            self._save(self.again)
            return {**self.last, "reason": self._summary(), "rows": self.ended}
        self.value.open = None
        text = self.value.text(self.texts)
        if self.value.errors and '"fpof":' in (self.record.parent or ""):
            self._write("part", text)
            return {**failed(self.taken, self._summary()), "rows": self.ended}
        return {**_about(self.taken), "kind": "completed", "value": text, "rows": self.ended}

    def _summary(self) -> str:
        first = self.value.errors[min(self.value.errors)]["error"]
        return f"{len(self.value.errors)} of {len(self.rows)} rows failed, the first with {first}"


def _surely(ask: Callable[[], Any]) -> Any:
    """Ask a server that may be away for a while: what the rows have come to must not be lost with it."""
    for _ in range(PATIENCE):
        with contextlib.suppress(ServerError):
            return ask()
        time.sleep(0.2)
    return ask()


_BEHIND = 1_000_000_000  #: pieces of children that were added later stand behind those of the plan
