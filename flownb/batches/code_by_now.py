"""Going on with a stored batch by its functions as they are defined here by now; where they differ, that is said."""

from __future__ import annotations

import json

from flownb import hooks
from flownb.batches.code_of_rows import codes_of_rows
from flownb.batches.stored_batch import StoredBatch
from flownb.connection import Connection
from flownb.tasks import registry
from flownb.tasks.code import difference, is_edited
from flownb.tasks.task import Task
from flownb.wire import keys


def go_on_after_attach(stored: StoredBatch, connection: Connection) -> None:
    """Let what has not run of an attached batch run here by what is defined here, unless this kernel added it."""
    if connection.read_only or stored.spec.get("code") is None or "ended" in stored.record_now():
        return
    if hooks.kernel_workers.has_kept_tasks(connection, stored.id):
        return
    hooks.kernel_workers.take_over_batch(connection, stored.name, stored.id)
    if _undefined(stored):
        _go_on_when_defined(stored, connection)
    else:
        _say_what_has_changed(stored)


def _go_on_when_defined(stored: StoredBatch, connection: Connection) -> None:
    """Say which cell is missing, unless others serve the batch; when it runs, what has changed."""

    def note(_: str) -> None:
        if not _undefined(stored):
            unlisten()
            _say_what_has_changed(stored)

    unlisten = registry.listen(note)
    connection.on_close(unlisten)
    if not _is_served(stored, connection):
        then = "" if connection.embedded else ", then fn.workers()"
        missing = _undefined(stored)
        tasks = f"task {missing[0]!r}" if len(missing) == 1 else f"tasks {', '.join(map(repr, missing))}"
        print(
            f"batch {stored.name!r}: nobody runs its rows: run the cell that defines {tasks}, or import its "
            f"module{then}"
        )


def _undefined(stored: StoredBatch) -> list[str]:
    """Return the tasks of the rows that are not known here."""
    return [name for name, task in _tasks(stored).items() if task is None]


def _tasks(stored: StoredBatch) -> dict[str, Task | None]:
    """Return the rows' tasks as they are defined here."""
    steps = stored.spec.get("steps") or [stored.spec]
    return {step["task"]: registry.find(step["queue"], step["task"]) for step in steps}


def _is_served(stored: StoredBatch, connection: Connection) -> bool:
    """Does some worker serve the rows? On the embedded server a kernel that has just been restarted does no more."""
    served = stored.store.queues.read_served(signs_tell_all=connection.embedded)
    return keys.base(stored.store.prefix, stored.row_queue) in (served or ())


def _say_what_has_changed(stored: StoredBatch) -> None:
    if said := _note_codes(stored, are_kept=stored.count_ended() > 0):
        print(
            f"batch {stored.name!r}: {said} since its rows were added; those that have not run use the function as it "
            "is now"
        )


def go_on_with_retry(stored: StoredBatch, connection: Connection, rows: int) -> None:
    """Let the rows that run again, so many, run here by what is defined here."""
    said = _note_codes(stored, are_kept=stored.count_ended() > rows)
    hooks.kernel_workers.take_over_batch(connection, stored.name, stored.id)
    if said:
        print(
            f"batch {stored.name!r}: {said} since its rows ran; what runs again uses the function as it is now, "
            "and table()['_version'] tells which row ran which"
        )


def _note_codes(stored: StoredBatch, *, are_kept: bool) -> str:
    """Note the code that the rows' function has by now; return what has become of it, empty if nothing.

    Are rows kept that ran by the code of before?
    """
    codes, said = codes_of_rows(stored.record_now(), stored.spec), []
    for name, task in _tasks(stored).items():
        now, before = task.code_by_now() if task else None, codes[name][-1] if codes[name] else None
        if now is not None and is_edited(before, now):
            said.append(difference(name, before, now))
            codes[name] = [*codes[name], now] if are_kept else [now]
    if said:
        record = keys.own(stored.store.prefix, "flow", stored.id)
        stored.store.flows.write_fields([(record, "codes", json.dumps(codes))])
    return ", ".join(said)
