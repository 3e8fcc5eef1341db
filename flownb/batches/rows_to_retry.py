"""Which failed rows a call runs again, and what it says of that: `Batch.retry`."""

from __future__ import annotations

from typing import Any

from flownb.arguments import is_unicode, one_of, shown
from flownb.batches import batch_tables, braking, code_by_now, row_selection
from flownb.batches.failures import read_failures
from flownb.batches.stored_batch import StoredBatch
from flownb.connection import Connection
from flownb.errors import OptionError


def retry_rows(
    stored: StoredBatch, connection: Connection, *, error: Any = None, rows: Any = None, step: Any = None
) -> None:
    """Run failed rows again; where none is named, all of them, and what failed above them."""
    error, step = _error_name(error), _step_name(step, stored)
    braking.begin_run(stored)
    failed, table = read_failures(stored.rows, stored.index, stored.steps)
    if error is None and rows is None and step is None:
        batch_tables.tell_removed(stored, range(len(stored.rows)))
        code_by_now.go_on_with_retry(stored, connection, len(failed))
        stored.rows.retry(stored.flow_state, failed, is_all=True)
        return
    chosen = row_selection.chosen(table, failed, stored.index, error=error, rows=rows, step=step)
    batch_tables.tell_removed(stored, chosen)
    if chosen:
        code_by_now.go_on_with_retry(stored, connection, len(chosen))
    else:
        why = "no row is named" if error is None else f"no failed row has the error {shown(error)}"
        if step is not None and error is None and rows is None:
            why = f"no row failed at {step}"
        print(f"batch {stored.name!r}: {why}, nothing runs again")
    stored.rows.retry(stored.flow_state, chosen, is_all=False)


def _error_name(error: Any) -> str | None:
    """Return the name of an error, or its kind, that rows are retried for."""
    if isinstance(error, type):
        error = error.__name__
    if error is None or (isinstance(error, str) and is_unicode(error)):
        return error
    raise OptionError(f"error: one error's name, kind or class, not {shown(error)}")


def _step_name(step: Any, stored: StoredBatch) -> str | None:
    """Return the name of the step at which rows failed; of rows with one task all failed at that."""
    if step is None:
        return None
    if stored.steps:
        return one_of("step", step, stored.steps)
    if isinstance(step, str) and step == stored.spec["task"]:
        return None
    raise OptionError(
        f"step: the rows of this batch have one task, {stored.spec['task']!r}, not {shown(step)}"
    )
