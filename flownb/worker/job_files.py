"""What a run of a many-row job reads from files, and leaves in one: its rows, and what they have come to."""

from __future__ import annotations

import logging
import time

from flownb.files.rows_in_files import (
    SMALL_BYTES,
    RowsOfJob,
    is_in_file,
    name_of_job,
    name_of_value,
    read_value,
    reference,
)
from flownb.wire.many_rows import RowsValue
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.file_values import FlowFiles, files_of

log = logging.getLogger("flownb.worker")

ASK_AGAIN_SECONDS = 5.0  # whether a folder has been named since
_MOST_KNOWN = 1000  # flows
_not_given: dict[tuple[str, int], float] = {}  # flow and store -> until when no folder is known, monotonic


def rows_of(taken: Taken, store: Store) -> RowsOfJob:
    """Return the rows of a job that was taken."""
    return RowsOfJob(taken.record.data, lambda: files_of(store, taken.record.flow or "").folder)


class JobFiles:
    """The files of one run of a job.

    Where the caller has named a folder, or the rows stand in a file already, what they have come to stands in a file
    while no run is at work on it: a retry by hand, or another attempt, takes it into the job again.
    """

    def __init__(self, taken: Taken, store: Store) -> None:
        self._record = taken.record
        self._store = store
        self.rows = rows_of(taken, store)

    @property
    def _files(self) -> FlowFiles:
        return files_of(self._store, self._record.flow or "")

    @property
    def _are_wanted(self) -> bool:
        return self._record.flow is not None and (self.rows.are_in_file or self._is_given())

    def _is_given(self) -> bool:
        """Has the caller named a folder? Where he has not, the server is asked now and then, not at each job."""
        key, now = (self._record.flow or "", id(self._store)), time.monotonic()
        if now < _not_given.get(key, 0.0):
            return False
        if self._files.is_given:
            return True
        if len(_not_given) >= _MOST_KNOWN:
            _not_given.clear()
        _not_given[key] = now + ASK_AGAIN_SECONDS
        return False

    def read(self, part: str) -> RowsValue:
        """Return what an earlier run has left."""
        return read_value(part, lambda: self._files.folder)

    def is_in_file(self, part: str) -> bool:
        """Say whether what an earlier run has left stands in a file."""
        return is_in_file(part)

    def keep(self, text: str, open: list[int] | None = None) -> str:
        """Put what the rows have come to into a file, if it is to stand there; return what stands in the job.

        Where that cannot be, it stands in the job itself: what rows have returned is not lost for want of a folder.
        """
        if len(text) <= SMALL_BYTES or not self._are_wanted or (folder := self._files.folder) is None:
            return text
        name, data = self._name(self._record.attempts_started), text.encode("utf-8", "surrogateescape")
        try:
            folder.write(name, data)
        except Exception as error:  # each kind of storage raises its own
            log.warning("what rows returned stays on the server: %s cannot be written: %s", folder.url, error)
            return text
        return reference(name, len(data), open)

    def remove_earlier(self) -> None:
        """Remove what earlier runs of the job have left, once this run has taken it in: also what no job refers to."""
        if not self._are_wanted or (folder := self._files.folder) is None:
            return
        try:
            folder.remove_files(self._name(run) for run in range(1, self._record.attempts_started))
            folder.remove_unfinished(f"{name_of_job(self._record.id, self._record.timestamp)}.")
        except Exception as error:  # the doctor finds what is left
            log.debug("files of earlier runs of %s stay: %s", self._record.key, error)

    def _name(self, run: int) -> str:
        return name_of_value(self._record.id, self._record.timestamp, run)
