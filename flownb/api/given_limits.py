"""The limits of a queue, kept where all workers find them: those that a call has given, else those of its tasks."""

from __future__ import annotations

from collections.abc import Iterable

from flownb.arguments import CALLS, Rate, calls_of
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.queue_settings import rates_of_text

_FIELDS = ("max", "duration", "limits", "limiter-of")


def set_limits(store: Store, base: str, rates: Iterable[Rate], *, by_task: bool = False) -> None:
    """Let these limits hold for a queue, for all workers; none ends those before."""
    store.settings.set(base, _fields(tuple(rates), by_task))


def settle(store: Store, queue: str, of_tasks: Iterable[Rate]) -> None:
    """Let the limits of a queue's tasks hold, as they are defined here, unless a call has given others."""
    base, wanted = keys.base(store.prefix, queue), _fields(tuple(of_tasks), by_task=True)
    has = dict(zip(_FIELDS, store.settings.read(base, *_FIELDS), strict=True))
    is_given = has["limiter-of"] is None and (has["max"] or has["limits"])
    if not is_given and has != {
        field: None if (value := wanted.get(field)) is None else str(value) for field in _FIELDS
    }:
        store.settings.set(base, wanted)


def limits_of(store: Store, queue: str, of_tasks: Iterable[Rate]) -> tuple[Rate, ...]:
    """Return the limits that hold for a queue: those that were given to it, else those of its tasks."""
    most, duration, others, owner = store.settings.read(keys.base(store.prefix, queue), *_FIELDS)
    if owner is not None or not (most or others):
        return tuple(of_tasks)
    found = rates_of_text(others)
    if most and duration:
        found.append(Rate(int(most), int(duration)))
    return tuple(found)


def _fields(rates: tuple[Rate, ...], by_task: bool) -> dict[str, int | str | None]:
    """Return the limits as fields of the queue's ``meta``: one of calls as BullMQ's, the others as flownb's."""
    calls = calls_of(rates)
    others = [
        rate for rate in rates if rate.unit != CALLS or calls != {"max": rate.most, "duration": rate.ms}
    ]
    return {
        **(calls or {"max": None, "duration": None}),
        "limits": ";".join(f"{rate.most!r} {rate.ms} {rate.unit}" for rate in others) or None,
        "limiter-of": "task" if rates and by_task else None,
    }
