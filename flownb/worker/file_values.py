"""What a function has returned as JSON text; those parts of it that go to files are written on the way."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from flownb.files.contents import Content
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import FIELDS, folder_of_flow, slug
from flownb.files.references import with_references
from flownb.wire import codec
from flownb.wire.plain_json import AS_IT_IS
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


class ReturnedValues:
    """What the function of one job returns, for one row or for each of several: made into JSON text.

    What no task has returned, and no row of a batch, goes to no file: other programs may read it.
    """

    def __init__(self, record: JobRecord, store: Store, *, nan: str = "null", by_task: bool = True) -> None:
        self._record, self._store, self._nan, self._by_task = record, store, nan, by_task

    def text_of(self, value: Any, position: int | None = None) -> str:
        """Return a value as JSON text; `position` is that of a row in its batch, where its job holds several.

        Raises `FlowError` where JSON cannot hold it, `NoFolder`, and what the folder raises.
        """
        if type(value) not in AS_IT_IS:  # most rows return a number or a text, which has no parts
            value = with_references(value, partial(self._keep, position), with_arrays=self._are_wanted)
        try:
            text = codec.encode(value, WHERE, nan=self._nan)
        except codec.TooLarge:
            if not self._are_wanted():
                raise
            text = codec.encode(value, WHERE, nan=self._nan, most=sys.maxsize)
        if len(text) <= LARGE_BYTES or not self._are_wanted():
            return text
        suffix, large = ("txt", value) if isinstance(value, str) else ("json", text)
        return codec.encode(self._keep(position, Content(suffix, large.encode), ""), WHERE)

    def _are_wanted(self) -> bool:
        """Does what could be JSON go to files too?"""
        return self._record.flow is not None and _files_of(self._store, self._record.flow).is_given

    def _keep(self, position: int | None, content: Content, way: str) -> dict[str, Any] | None:
        """Write a part of a value and return what stands for it; None where it goes to no file."""
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
        name = f"{self._name(position)}{way}.{content.suffix}"
        files.folder.write(name, data)
        return {"flownb:file": name, "bytes": len(data)}

    def _name(self, position: int | None) -> str:
        """Return how a row is called, in every run of it: its job, or the job it was added in and its number."""
        id = self._record.id
        return slug(id) if position is None else f"{id.partition('-')[0]}-{position}"


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
