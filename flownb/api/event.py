"""One event of a queue's stream, and how it is read from the fields that BullMQ stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flownb.wire import codec

EVENTS = (
    "added",
    "waiting",
    "delayed",
    "waiting-children",
    "active",
    "progress",
    "completed",
    "failed",
    "retries-exhausted",
    "stalled",
    "drained",
    "removed",
    "duplicated",
    "deduplicated",
    "debounced",
    "cleaned",
    "paused",
    "resumed",
)

_SNAKE = {
    "failedReason": "failed_reason",
    "attemptsMade": "attempts_made",
    "deduplicationId": "deduplication_id",
    "deduplicatedJobId": "deduplicated_job_id",
    "debounceId": "debounce_id",
}
_COUNTS = {"retries-exhausted": "attempts_made", "cleaned": "count"}  # by event, what is a number


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Event:
    """One event of a queue. `data` holds what else it tells, such as ``returnvalue`` or ``failed_reason``.

    A batch's value of more than 256 kB is ``{"flownb:large": bytes}`` once its job has been removed.

    >>> job = Queue("doc-told").add("mail")
    >>> with QueueEvents("doc-told", last_event_id="0") as events:
    ...     event = next(iter(events))
    >>> event.name, event.data, event.job_id == job.id
    ('added', {'name': 'mail'}, True)
    """

    name: str
    job_id: str | None  #: None where it is the queue's: drained, paused, resumed, cleaned
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prev: str | None = None  #: the state the job came from
    delay: datetime | None = None  #: of ``delayed``: when the job is due
    id: str  #: its place in the stream; its first part is the server's time in ms

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {dict(self.data)!r})" if self.data else f"Event({self.name!r})"


def read_event(
    id: str,
    stored: Mapping[Any, Any],
    *,
    in_full: Callable[[str | None, str], str],
    decode: Callable[[str, str], Any],
) -> Event:
    """Return the event that these stored fields tell.

    `in_full` is given a job's id and its returnvalue as the stream has it, which may only name a large value;
    `decode` the event's name and a text that should be JSON.
    """
    fields = {codec.text(name): codec.text(value) for name, value in stored.items()}
    name = fields.pop("event", "")
    job_id, prev, due = (fields.pop(part, None) for part in ("jobId", "prev", "delay"))
    data: dict[str, Any] = {_SNAKE.get(part, part): value for part, value in fields.items()}
    if name == "progress" and "data" in data:
        data["progress"] = data.pop("data")
    counted = _COUNTS.get(name)
    if counted is not None and data.get(counted, "").isdigit():
        data[counted] = int(data[counted])
    if name in ("completed", "progress"):
        if "returnvalue" in data:
            data["returnvalue"] = decode(name, in_full(job_id, data["returnvalue"]))
        if "progress" in data:
            data["progress"] = decode(name, data["progress"])
    return Event(name=name, job_id=job_id, data=data, prev=prev, delay=_moment(due), id=id)


def _moment(ms: str | None) -> datetime | None:
    try:
        return None if ms is None else datetime.fromtimestamp(float(ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
