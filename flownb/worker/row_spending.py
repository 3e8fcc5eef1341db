"""What rows of a many-row job have spent: in runs before this one, and told before what it paid for is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.files.rows_in_files import RowsOfJob
from flownb.wire.amounts import most, total
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.jobs import PartOfRows
from flownb.worker.patient_calls import patiently
from flownb.worker.row_results import RowResults
from flownb.worker.telling import spent_by


def spent_before(
    bind: Mapping[str, Any], rows: RowsOfJob, saved: Mapping[int, dict[str, int]], left: PartOfRows | None
) -> dict[int, dict[str, int]]:
    """Return what each row has spent before this run: by what was saved, or in the job from which it comes.

    Runs that broke off, of which something is `left`, may have told more than they have saved.
    """
    by_job = {} if left is None else total(left.spent.values())
    in_job_before = rows.spent
    if by_job and bind["rows"] == 1:
        return {0: total([*in_job_before, by_job])}
    found = dict(saved) or {n: spent for n, spent in enumerate(in_job_before) if spent}
    for row, amounts in {} if left is None else left.spent_by_row.items():
        found[row] = most(found.get(row, {}), amounts)
    return found


def tell_spent(taken: Taken, store: Store, results: RowResults) -> None:
    """Tell what this run has paid for before it is saved as done: no later run pays for it; coroutines tell late.

    What its rows have spent goes along, so that the sum has nothing that the rows have not, wherever a kill comes.
    """
    spent = results.spent_now  # first: of what ends in another thread meanwhile, the rows have more
    by_rows = dict(results.value.spent)
    if spent != results.spent_known:
        known = results.spent_by_rows_known
        untold = {row: amounts for row, amounts in by_rows.items() if amounts != known.get(row)}
        patiently(lambda: store.accounts.tell([spent_by(taken, spent, untold)]))
        results.spent_known, results.spent_by_rows_known = spent, by_rows
