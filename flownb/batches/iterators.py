"""Rows from an iterator: what has come is stored and runs, while the next is waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from flownb.adding.stream import Stream
from flownb.batches import labels
from flownb.batches.row_plan import Layout
from flownb.batches.rows import Rows
from flownb.batches.stored_rows import known_rows
from flownb.wire import keys, many_rows
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.store import Store

MOST_ROWS = 500  #: that are read before they are stored
PATIENCE = 0.2  #: seconds for which a row that has come may wait for others


def store_as_they_come(
    store: Store,
    items: Iterator[Any],
    *,
    name: str,
    read: Callable[..., Rows],
    identify: Callable[..., list[str]],
    lay_out: Callable[[Rows, list[str]], Layout],
) -> str | None:
    """Store the rows of an iterator as they come; return the flow's id, None if none came.

    `read` turns items into rows, `identify` gives them ids, `lay_out` makes a layout of both.
    When the iterator or a row of it raises, the batch has the rows before, and the exception says so.
    """
    flow = keys.new_id()
    stream: Stream | None = None
    layout: Layout | None = None
    is_known = store.flows.find(name) is not None
    homes = known_rows(store, name) if is_known else {}
    total = kept = failed = 0
    columns: dict[str, None] = {}
    seen: dict[bytes, int] = {}
    try:
        for some in _pieces(items):
            found = read(some, start=total)
            ids = identify(found, earlier=seen)
            layout = lay_out(found, ids)
            layout.flow, layout.start, layout.homes = flow, total, homes
            if is_known:
                while layout.renew_failed_rows():
                    pass
            columns |= dict.fromkeys(found.columns)
            plan = layout.plan()
            stream = stream or Stream(store, flow, name, layout.record())
            stream.send(plan, layout.parents)
            total += len(ids)
            kept += layout.count(COMPLETED)
            failed += layout.count(FAILED)
    except BaseException as error:
        if stream is not None:
            error.add_note(
                f"batch {name!r} has the {total:,} rows before; the same call again goes on from there"
            )
        raise
    finally:
        if stream is not None and layout is not None:
            spec = {
                **layout.spec(),
                "rows": total,
                "columns": list(columns),
                "index": labels.index_to_json(pd.RangeIndex(total))[0],
            }
            if layout.is_grouped:
                note = many_rows.note_of(total, kept, failed)
                store.flows.write_fields(
                    [(keys.own(store.prefix, "counts", flow), f"rows@{layout.base}", note)]
                )
            stream.close({"spec": json.dumps(spec)})
            layout.announce(kept + failed, total)
    return flow if stream else None


def _pieces(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield what has come: 500 items, or those of a fifth of a second."""
    some: list[Any] = []
    last = time.monotonic()
    try:
        for item in items:
            some.append(item)
            if len(some) == MOST_ROWS or time.monotonic() - last > PATIENCE:
                yield some
                some, last = [], time.monotonic()
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some
