"""Fetch a batch's large values, which are stored once, with their job (see ``lua/lib/large_values.lua``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flownb.errors import JobMissing
from flownb.wire import codec

if TYPE_CHECKING:
    from redis import Redis

_TOLD = '{"flownb:large":'
_AT_ONCE = 20  #: values a read: each has at least a quarter of a megabyte


def is_told(text: str) -> bool:
    """Say whether this stands in place of a job's value. What only looks like it is the job's value, too."""
    return text.startswith(_TOLD)


def in_full(client: Redis, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the values of jobs, by key, with each that is large in place of what was told of it.

    Raises `JobMissing` for one that is gone with its job.
    """
    found = dict(texts)
    told = [key for key, text in texts.items() if is_told(text)]
    for start in range(0, len(told), _AT_ONCE):
        some = told[start : start + _AT_ONCE]
        with client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.hget(key, "returnvalue")
            values = pipe.execute()
        for key, value in zip(some, values, strict=True):
            if value is None:
                raise JobMissing(
                    f"the value of {key} is gone: it was large, so only the job held it; run its fan_out again"
                )
            found[key] = codec.text(value)
    return found
