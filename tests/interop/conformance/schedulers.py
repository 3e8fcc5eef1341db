"""Job schedulers: what is stored of them, when their jobs come, and how they are changed and taken back."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    RUNS,
    STOP,
    Step,
    add,
    after,
    fails,
    heard,
    holds,
    job,
    line,
    listen,
    of,
    opens,
    read,
    returns,
    rewrites,
    run,
    until_called,
    work,
)

DAY = 86_400_000
AGES = 3650 * DAY  # its next start, counted from 1970 on, is far off too
START, END = (
    1_900_000_000_000,
    2_000_000_000_000,
)  # so far off that what is due then has the same time in every run
MORNINGS = {"pattern": "0 6 * * *", "startDate": START}
NEXT = "line:repeat:s"
ANOTHER_MS = after(3)  # a job that is due at once has its time for an id


def upsert(repeat: dict[str, Any], template: dict[str, Any] | None = None, id: str = "s") -> Step:
    return line.upsert_job_scheduler(id, repeat, *([] if template is None else [template]))


def tick(*do: tuple[Any, ...], **opts: Any) -> dict[str, Any]:
    """Describe a scheduler's jobs, which do these things."""
    made = {"name": "tick", "data": {"do": list(do)}}
    return made | {"opts": opts} if opts else made


TOLD = line.get_job_scheduler("s")

SCENARIOS: dict[str, list[Any]] = {
    "an interval: the first job waits": [
        upsert({"every": DAY}, tick()),
        of(NEXT).get_state(),
        TOLD,
        line.get_job_counts(),
    ],
    "an interval: a run adds the next job": [
        upsert({"every": DAY}, tick(returns(1))),
        work(),
        until_called("tick"),
        STOP,
        of(NEXT).get_state(),
        TOLD,
        line.get_job_counts(),
    ],
    "an interval, so often": [upsert({"every": 40, "limit": 3}, tick(returns(1))), run(), RUNS, TOLD],
    "an interval with an offset": [
        upsert({"every": AGES, "offset": 1000}, tick()),
        of(NEXT).get_state(),
        TOLD,
    ],
    "an interval from a day on, to a day": [
        upsert({"every": DAY, "startDate": START, "endDate": END}, tick()),
        of(NEXT).get_state(),
        TOLD,
    ],
    "an interval to a day: the next job knows it": [
        upsert({"every": DAY, "endDate": END}, tick(returns(1))),
        work(),
        until_called("tick"),
        STOP,
        TOLD,
    ],
    "a cron line": [upsert({"pattern": "0 6 * * *"}, tick()), of(NEXT).get_state(), TOLD],
    "a cron line with seconds, so often": [
        upsert({"pattern": "* * * * * *", "limit": 2}, tick(returns(1))),
        run(),
        RUNS,
        TOLD,
    ],
    "a cron line at once": [
        upsert({"pattern": "0 6 * * *", "immediately": True}, tick(returns(1))),
        work(),
        until_called("tick"),
        STOP,
        of(NEXT).get_state(),
        TOLD,
    ],
    "a cron line from a day on": [upsert(MORNINGS, tick()), of(NEXT).get_state(), TOLD],
    "cron lines in zones": [
        upsert({"pattern": "30 2 * * *", "tz": zone, "startDate": at}, id=f"s{n}")
        for n, (zone, at) in enumerate(
            [
                ("Europe/Berlin", START),
                ("Europe/Berlin", 1_901_060_000_000),  # the night before the clocks go forward
                ("America/New_York", START),
                ("Asia/Kolkata", START),
            ]
        )
    ],
    "what its jobs are": [
        upsert(
            MORNINGS,
            {
                "name": "report",
                "data": {"a": [1]},
                "opts": {
                    "attempts": 3,
                    "backoff": {"type": "fixed", "delay": 10},
                    "priority": 2,
                    "keepLogs": 5,
                    "removeOnComplete": {"count": 1},
                },
            },
        ),
        read(NEXT, "name", "data", "attempts_made"),
        TOLD,
    ],
    "nothing said of its jobs": [upsert(MORNINGS), read(NEXT, "name", "data"), TOLD],
    "the same again": [upsert(MORNINGS, tick()), ANOTHER_MS, upsert(MORNINGS, tick()), TOLD],
    "the same interval again": [
        upsert({"every": DAY}, tick()),
        ANOTHER_MS,
        upsert({"every": DAY}, tick()),
        TOLD,
        line.get_job_counts(),
    ],
    "another interval": [
        upsert({"every": DAY}, tick()),
        ANOTHER_MS,
        upsert({"every": 2 * DAY}, tick()),
        TOLD,
        line.get_job_counts(),
    ],
    "another interval after a run": [
        upsert({"every": DAY}, tick(returns(1))),
        work(),
        until_called("tick"),
        STOP,
        ANOTHER_MS,
        upsert({"every": 2 * DAY}, tick()),
        TOLD,
        line.get_job_counts(),
    ],
    "a cron line for an interval": [upsert({"every": DAY}, tick()), upsert(MORNINGS, tick()), TOLD],
    "other data for its next job": [
        upsert(MORNINGS, tick()),
        upsert(MORNINGS, {"name": "tock", "data": {"b": 2}, "opts": {"attempts": 2}}),
        read(NEXT, "name", "data"),
        TOLD,
    ],
    "several are told": [
        upsert({"every": DAY, "startDate": START + 2000}, id="late"),
        upsert({"every": DAY, "startDate": START}, id="soon"),
        upsert({"every": DAY, "startDate": START + 1000, "limit": 5}, tick(), id="middle"),
        line.get_job_schedulers(),
        line.get_job_schedulers(0, -1, True),
        line.get_job_schedulers(1, 1),
        line.get_job_scheduler("gone"),
    ],
    "taken back with its next job": [
        listen(),
        upsert({"every": DAY, "startDate": START}, tick()),
        line.remove_job_scheduler("s"),
        line.remove_job_scheduler("s"),
        TOLD,
        heard(f"repeat:s:{START}"),
    ],
    "taken back while its first job waits": [
        upsert({"every": DAY}, tick()),
        line.remove_job_scheduler("s"),
        line.get_job_counts(),
    ],
    "taken back while its job runs": [
        upsert({"every": DAY}, tick(holds(), returns(1))),
        work(),
        until_called("tick"),
        line.remove_job_scheduler("s"),
        opens(),
        STOP,
        line.get_job_schedulers(),
    ],
    "its next job cannot be removed": [
        upsert(MORNINGS, tick()),
        of(NEXT).remove(),
        of(NEXT).get_state(),
        TOLD,
    ],
    "its next job runs now": [
        upsert({"pattern": "0 6 * * *"}, tick(rewrites({"seen": 1}), returns(1))),
        of(NEXT).promote(),
        of(NEXT).get_state(),
        work(),
        until_called("tick"),
        STOP,
        of(NEXT).get_state(),
        read(NEXT, "data"),
        TOLD,
    ],
    "a job that fails twice is followed by one": [
        upsert({"every": DAY}, tick(fails(), attempts=2)),
        work(),
        until_called("tick", "tick"),
        STOP,
        line.get_job_counts(),
        TOLD,
    ],
    "a queue that is drained, and one that is held": [
        add(job("a")),
        upsert(MORNINGS, tick()),
        line.drain(True),
        line.pause(),
        line.get_job_counts(),
        TOLD,
    ],
    "what is no repetition is refused": [
        upsert({}),
        upsert({"every": DAY, "pattern": "0 6 * * *"}),
        upsert({"pattern": "nonsense"}),
        upsert({"pattern": "0 6 * * *", "tz": "Nowhere/X"}),
        upsert({"pattern": "0 6 * * *", "startDate": START, "immediately": True}),
        line.get_job_schedulers(),
    ],
    "one that is over already": [upsert({"every": DAY, "endDate": 1000}), TOLD],
}
