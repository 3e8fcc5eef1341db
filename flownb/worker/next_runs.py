"""Lets BullMQ's job schedulers go on: when a job of one begins, the next one is added, as BullMQ's workers do it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from flownb.adding.next_run import next_run_ms, opts_of_run
from flownb.errors import ServerError
from flownb.wire import codec, keys
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken, number

log = logging.getLogger("flownb.worker")


def add_next_runs(store: Store, taken: Sequence[Taken]) -> None:
    """Add the next job of each scheduler that has added one of these. A worker that dies before is made up for by the
    next one that takes the job.
    """
    for one in taken:
        if one.scheduler is None:
            continue
        try:
            _add_next_run(store, one, one.scheduler)
        except ServerError as error:
            log.warning(
                "the next run of schedule %r is added when this job is taken again: %s", one.scheduler, error
            )
        except Exception as error:  # a pattern or a time zone that is none
            queue = keys.queue_of_base(one.base)
            log.warning("schedule %r of queue %r cannot go on: %s", one.scheduler, queue, error)


def _add_next_run(store: Store, taken: Taken, scheduler: str) -> None:
    record, now = taken.record, store.server.read_time()
    opts = codec.decode_object(record.opts)
    repeat = opts["repeat"] if isinstance(opts.get("repeat"), dict) else {}
    schedule = {
        **{name: str(value) for name, value in repeat.items()},
        **store.schedules.read(taken.base, scheduler),
    }
    at = number(record.id.rpartition(":")[2])
    count = number(repeat.get("count", 1))
    if _is_over(schedule, count, now):
        return
    next_ms = next_run_ms(schedule, at, now)
    store.schedules.add_next_run(
        taken.base,
        scheduler,
        at=at,
        next=next_ms,
        opts=json.dumps(opts_of_run(opts, repeat, scheduler, count + 1, next_ms, now), separators=(",", ":")),
        priority=record.priority,
        name=record.name,
        data=record.data,
    )


def _is_over(schedule: Mapping[str, str], count: int, now: int) -> bool:
    limit, end = number(schedule.get("limit", 0)), number(schedule.get("endDate", 0))
    return bool(limit and count >= limit) or bool(end and now > end)
