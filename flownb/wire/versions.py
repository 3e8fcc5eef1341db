"""Layouts of newer programs: queues of a newer BullMQ are read, not written; flows of a newer flownb are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from flownb.errors import ServerRefused
from flownb.wire import keys
from flownb.wire.server_errors import server_errors

if TYPE_CHECKING:
    from redis import Redis

NEWEST = 6  #: the major version of BullMQ whose layout is known
#: of flownb's own keys and fields, written into each flow's record; one more when older workers would misread it
LAYOUT = 1
_VERSION = re.compile(rb"bullmq:(\d+)\.")  # what a Node `Queue` writes into its queue's `meta`
_looked_at: WeakKeyDictionary[Redis, set[str]] = WeakKeyDictionary()


def refuse_newer(client: Redis, bases: Iterable[str]) -> None:
    """Raise ServerRefused for a queue that a newer major version of BullMQ wrote; each is looked at once a client."""
    known = _looked_at.setdefault(client, set())
    fresh = [base for base in dict.fromkeys(bases) if base not in known]
    if not fresh:
        return
    with server_errors(), client.pipeline(transaction=False) as pipe:
        for base in fresh:
            pipe.hget(keys.part(base, "meta"), "version")
        found = pipe.execute()
    for base, version in zip(fresh, found, strict=True):
        match = _VERSION.match(version or b"")
        if match and int(match[1]) > NEWEST:
            raise ServerRefused(
                f"queue {keys.queue_of_base(base)!r} belongs to BullMQ {version.decode().partition(':')[2]}, and "
                f"flownb knows the layout up to BullMQ {NEWEST}: upgrade flownb; to look at it, connect with "
                "read_only=True"
            )
    known.update(fresh)


def is_layout_unknown(record: Mapping[str, str]) -> bool:
    """Say whether a newer flownb has stored the flow that has this record. The first layout was not noted.

    >>> is_layout_unknown({"layout": "1000"}), is_layout_unknown({})
    (True, False)
    """
    layout = record.get("layout", "1")
    return not (layout.isdecimal() and float(layout) <= LAYOUT)
