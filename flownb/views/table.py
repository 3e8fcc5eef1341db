"""Job records, phases, counts and lists of flows and schedules as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from flownb.errors import printable_lines
from flownb.views.phases import phases, waited_and_ran
from flownb.views.words import in_reading_order
from flownb.wire.records import STATES, FlowCounts, JobLine, JobRecord

JOB_COLUMNS = ("name", "queue", "state", "attempts", "wait_s", "run_s", "error")


def jobs_frame(records: Iterable[JobRecord | JobLine]) -> pd.DataFrame:
    """One row a job, in the order given: name, queue, state, attempts, wait_s, run_s, error.

    `wait_s` is how long the job waited until its last start and `run_s` how long it ran, all its runs together;
    what is not over yet is missing.

    >>> jobs_frame([]).columns.tolist()
    ['name', 'queue', 'state', 'attempts', 'wait_s', 'run_s', 'error']
    """
    jobs = list(records)
    waited, ran = zip(*map(waited_and_ran, jobs), strict=True) if jobs else ((), ())
    return pd.DataFrame(
        {
            **{name: _texts([getattr(job, name) for job in jobs]) for name in ("name", "queue", "state")},
            "attempts": pd.array([job.attempts_made for job in jobs], dtype="Int64"),
            "wait_s": _seconds(waited),
            "run_s": _seconds(ran),
            "error": _texts([job.failed_reason or None for job in jobs]),
        },
        columns=list(JOB_COLUMNS),
    )


def timeline_frame(records: Iterable[JobRecord], *, now: int | None = None) -> pd.DataFrame:
    """One row a phase of a job: name, queue, phase (waiting, running, retrying), start, end, seconds.

    What still lasts has no end; with `now` (milliseconds) its seconds are counted up to now.

    >>> timeline_frame([]).columns.tolist()
    ['name', 'queue', 'phase', 'start', 'end', 'seconds']
    """
    rows = [
        (record.name, record.queue, phase.kind, phase.start, phase.end)
        for record in records
        for phase in phases(record)
    ]
    names, queues, kinds, starts, ends = zip(*rows, strict=True) if rows else ((),) * 5
    until = [now if end is None else end for end in ends]
    return pd.DataFrame(
        {
            "name": _texts(names),
            "queue": _texts(queues),
            "phase": _texts(kinds),
            "start": _moments(starts),
            "end": _moments(ends),
            "seconds": _seconds(map(_between, starts, until)),
        }
    )


def _moments(values: Sequence[int | None]) -> pd.Series:
    naive = pd.Series(pd.array(values, dtype="Int64").astype("Float64"), dtype="Float64")
    return pd.Series(pd.to_datetime(naive.astype("float64"), unit="ms", utc=True)).dt.as_unit("ms")


def reasons_frame(reasons: Sequence[tuple[str, str, str]], what: str = "why") -> pd.DataFrame:
    """One row a reason, in the order given: job, why, fix; `what` is what the second column is called.

    >>> reasons_frame([("total", "queue 'q' is paused", "resume it")]).loc[0, "fix"]
    'resume it'
    """
    columns = zip(*reasons, strict=True) if reasons else ((), (), ())
    return pd.DataFrame(
        {name: _texts(list(texts)) for name, texts in zip(("job", what, "fix"), columns, strict=True)}
    )


FLOW_COLUMNS = ("flow", "name", "state", "completed", "failed", "total", "age_s", "why", "spent")


def flows_frame(lines: Sequence[tuple[str, str, str, int, int, int, float, str, str]]) -> pd.DataFrame:
    """One row a flow, in the order given: flow, name, state, completed, failed, total, age_s, why, spent.

    >>> flows_frame([("totals:f1", "total", "completed", 3, 0, 3, 12.5, "", "2 usd")]).loc[0, "total"]
    np.int64(3)
    """
    columns = dict(zip(FLOW_COLUMNS, zip(*lines, strict=True) if lines else [()] * 9, strict=True))
    kinds = dict.fromkeys(("completed", "failed", "total"), "int64") | {"age_s": "float64"}
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype=kinds[name]) if name in kinds else _texts(list(values))
            for name, values in columns.items()
        }
    )


USAGE_COLUMNS = ("flow", "name", "state", "jobs", "server", "files")


def usage_frame(lines: Sequence[tuple[str, str, str, int, int, int]]) -> pd.DataFrame:
    """One row a flow, in the order given: flow, name, state, jobs, server, files; the last two in bytes.

    >>> usage_frame([("totals:f1", "total", "completed", 3, 2000, 0)]).loc[0, "server"]
    np.int64(2000)
    """
    columns = dict(zip(USAGE_COLUMNS, zip(*lines, strict=True) if lines else [()] * 6, strict=True))
    return pd.DataFrame(
        {
            name: _texts(list(values))
            if name in ("flow", "name", "state")
            else pd.Series(list(values), dtype="int64")
            for name, values in columns.items()
        }
    )


SCHEDULE_COLUMNS = ("name", "when", "tz", "overlap", "next", "last", "state", "why")


def schedules_frame(
    lines: Sequence[tuple[str, str, str, str, int, str | None, str | None, str]],
) -> pd.DataFrame:
    """One row a schedule, in the order given: name, when, tz, overlap, next, last, state, why.

    >>> schedules_frame([("nightly", "1d", "UTC", "skip", 1764568800000, None, None, "")]).loc[0, "next"]
    Timestamp('2025-12-01 06:00:00+0000', tz='UTC')
    """
    columns = dict(zip(SCHEDULE_COLUMNS, zip(*lines, strict=True) if lines else [()] * 8, strict=True))
    return pd.DataFrame(
        {
            name: _moments(list(values)) if name == "next" else _texts(list(values))
            for name, values in columns.items()
        }
    )


def _texts(values: Sequence[str | None]) -> pd.Series:
    """Text as objects, the missing as None: the same with every pandas, and ``==`` works on it.

    A DataFrame is printed in terminals, and pandas leaves control characters as they are: they are spelled out.
    """
    if not "".join(filter(None, values)).isprintable():  # nearly all are: asked once, not of each
        values = [None if value is None else printable_lines(value) for value in values]
    return pd.Series(values, dtype=object)


def _between(start: int | None, end: int | None) -> int | None:
    """From one moment to another. A clock that went back gives 0, not a negative duration."""
    return None if start is None or end is None else max(end - start, 0)


def _seconds(milliseconds: Iterable[int | None]) -> pd.api.extensions.ExtensionArray:
    return pd.array([None if value is None else value / 1000 for value in milliseconds], dtype="Float64")


def counts_frame(counts: FlowCounts) -> pd.DataFrame:
    """One row a queue, or a step of rows that have several; one column a state that has jobs, and ``total``.

    >>> counts_frame(FlowCounts(by_stage={"work": {"completed": 2, "failed": 1}})).loc["work"].to_dict()
    {'completed': 2, 'failed': 1, 'total': 3}
    """
    stages: dict[str, Mapping[str, int]] = {}
    for queue, states in counts.by_stage.items():
        stages |= counts.by_step.get(queue, {queue: states})
    present = {state for states in stages.values() for state, _ in in_reading_order(states)}
    ordered = [state for state in STATES if state in present] + sorted(present - set(STATES))
    columns = {
        state: pd.Series([stages[queue].get(state, 0) for queue in stages], dtype="int64")
        for state in ordered
    }
    columns["total"] = pd.Series([sum(states.values()) for states in stages.values()], dtype="int64")
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(list(stages), name="queue", dtype=object)
    return frame
