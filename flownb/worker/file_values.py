"""What a function has returned as JSON text; those parts of it that go to files are written on the way."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from flownb.files.contents import Content
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import FIELDS, folder_of_flow, slug
from flownb.files.references import with_references
from flownb.wire import codec
from flownb.wire.records import JobRecord
from flownb.wire.store import Store

LARGE_BYTES = 262_144  # of text or JSON, above which it goes to a file where a folder was given
WHERE = "the returned value"


class NoFolder(Exception):
    """A batch's row has returned what goes to a file, and nobody has said where files are: the batch is held."""


class _FlowFiles(NamedTuple):
    """What a flow's record says of its files."""

    folder: FileFolder | None
    is_batch: bool

    @property
    def is_given(self) -> bool:
        """Has the caller named the folder? Then all that is large goes there."""
        return self.folder is not None and not self.folder.is_own


def text_of(
    value: Any,
    record: JobRecord,
    store: Store,
    *,
    nan: str = "null",
    position: int | None = None,
    by_task: bool = True,
) -> str:
    """Return a value as JSON text; `position` is that of a row in its batch, where its job holds several.

    What no task has returned, and no row of a batch, goes to no file: other programs may read it.

    Raises `FlowError` where JSON cannot hold it, `NoFolder`, and what the folder raises.
    """
    files = _ValueFiles(record, store, position, by_task=by_task)
    value = with_references(value, files.keep, with_arrays=files.are_wanted)
    try:
        text = codec.encode(value, WHERE, nan=nan)
    except codec.TooLarge:
        if not files.are_wanted():
            raise
        text = codec.encode(value, WHERE, nan=nan, most=sys.maxsize)
    if len(text) <= LARGE_BYTES or not files.are_wanted():
        return text
    suffix, large = ("txt", value) if isinstance(value, str) else ("json", text)
    return codec.encode(files.keep(Content(suffix, large.encode), ""), WHERE)


class _ValueFiles:
    """Writes the files of one value, under names that a later run of the same row would use again."""

    def __init__(self, record: JobRecord, store: Store, position: int | None, *, by_task: bool) -> None:
        self._record, self._store, self._position, self._by_task = record, store, position, by_task

    def are_wanted(self) -> bool:
        """Does what could be JSON go to files too?"""
        return self._record.flow is not None and _files_of(self._store, self._record.flow).is_given

    def keep(self, content: Content, way: str) -> dict[str, Any] | None:
        """Write a part of the value and return what stands for it; None where it goes to no file."""
        files = _FlowFiles(None, is_batch=False)
        if self._record.flow is not None:
            files = _files_of(self._store, self._record.flow)
        if files.folder is None and files.is_batch:
            raise NoFolder(
                f"{self._record.name} returned {content.what}, which goes to a file; run the same fan_out again with "
                "files=, a folder or bucket that all workers reach"
            )
        if files.folder is None or not (files.is_batch or self._by_task):
            return None
        data = content.write()
        name = f"{self._name()}{way}.{content.suffix}"
        files.folder.write(name, data)
        return {"flownb:file": name, "bytes": len(data)}

    def _name(self) -> str:
        """Return how the row is called: its job, or the job that it was added in and its number in the batch."""
        id = self._record.id
        if self._position is None:
            return slug(id)
        return f"{id.partition('-')[0]}-{self._position}"


# A flow's folder does not change once there is one; it may be given later.
_known: weakref.WeakKeyDictionary[Store, dict[str, _FlowFiles]] = weakref.WeakKeyDictionary()
_MOST_KNOWN = 1000  # flows


def _files_of(store: Store, flow: str) -> _FlowFiles:
    known = _known.setdefault(store, {})
    if flow in known:
        return known[flow]
    record: Mapping[str, str] = store.flows.read(flow, *FIELDS)
    files = _FlowFiles(folder_of_flow(store, flow, record), is_batch="spec" in record)
    if files.folder is not None:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[flow] = files
    return files
