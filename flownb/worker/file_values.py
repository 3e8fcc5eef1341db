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
from flownb.files.references import MARK, digest_of, reference, with_references
from flownb.tasks.yielding import Items
from flownb.wire import codec
from flownb.wire.plain_json import AS_IT_IS
from flownb.wire.records import JobRecord
from flownb.wire.store import Store

LARGE_BYTES = 262_144  # of text or JSON, above which it goes to a file where a folder was given
LARGE_PART_BYTES = 16_384  # of a part of what is larger than that, which then goes to a file of its own
WHERE = "the returned value"
WRITTEN_AT_ONCE = (str, int, float, bool, type(None), dict, list)  #: types whose text is made without a file
_NUMBERS = frozenset({int, float, bool, type(None)})


class NoFolder(Exception):
    """A batch's row has returned what goes to a file, and nobody has said where files are: the batch is held."""


class FlowFiles(NamedTuple):
    """What a flow's record says of its files."""

    folder: FileFolder | None
    is_batch: bool

    @property
    def is_given(self) -> bool:
        """Has the caller named the folder? Then all that is large goes there."""
        return self.folder is not None and not self.folder.is_own


def json_of(value: Any, record: JobRecord, store: Store, *, nan: str, by_task: bool) -> str:
    """Return the JSON text of the one value that a job has returned; see `ReturnedValues`."""
    if type(value) in _NUMBERS:  # nothing to keep in a file, and no reason to look for it
        return codec.encode(value, WHERE, nan=nan)
    return ReturnedValues(record, store, nan=nan, by_task=by_task).text_of(value)


class ReturnedValues:
    """What the function of one job returns, for one row or for each of several: made into JSON text.

    What no task has returned, and no row of a batch, goes to no file: other programs may read it.
    """

    __slots__ = ("_by_task", "_nan", "_record", "_store")

    def __init__(self, record: JobRecord, store: Store, *, nan: str = "null", by_task: bool = True) -> None:
        self._record, self._store, self._nan, self._by_task = record, store, nan, by_task

    def text_of(self, value: Any, position: int | None = None, way: str = "", *, where: str = WHERE) -> str:
        """Return a value as JSON text; `position` is that of a row in its batch, where its job holds several.

        `way` tells this value from others of the row, in the names of files, `where` in refusals.

        Raises `FlowError` where JSON cannot hold it, `NoFolder`, and what the folder raises.
        """
        if type(value) is Items:
            return self._text_of_items(value, position, way)
        if type(value) not in AS_IT_IS:  # most rows return a number or a text, which has no parts
            keep = partial(self._keep, position)
            value = with_references(value, keep, with_arrays=self._are_wanted, way=way)
        try:
            text = codec.encode(value, where, nan=self._nan)
        except codec.TooLarge:
            if not self._are_wanted():
                raise
            text = codec.encode(value, where, nan=self._nan, most=sys.maxsize)
        if len(text) <= LARGE_BYTES or not self._are_wanted():
            return text
        if text.startswith("{") and (parts := self._in_parts(codec.decode(text), position, way)):
            return codec.encode(parts, WHERE)
        if MARK in text:  # what refers to files stays where doctor finds it: on the server
            return text
        return codec.encode(self._in_file(value, text, position, way), WHERE)

    def _in_file(self, value: Any, text: str, position: int | None, way: str) -> dict[str, Any] | None:
        """Write a text as it is, any other value as the JSON `text` of it; return what stands for the file."""
        suffix, large = ("txt", value) if isinstance(value, str) else ("json", text)
        return self._keep(position, Content(suffix, large.encode), way)

    def _in_parts(self, value: dict[str, Any], position: int | None, way: str) -> dict[str, Any] | None:
        """Return a large dict whose large parts are in files: its keys are columns, also where one of them is large.

        None where it is large of small parts.
        """
        texts = {key: codec.encode(part, WHERE, most=sys.maxsize) for key, part in value.items()}
        large = [key for key, text in texts.items() if len(text) > LARGE_PART_BYTES and MARK not in text]
        if sum(len(key) + len(texts[key]) for key in texts.keys() - large) > LARGE_BYTES:
            return None
        for key in large:
            value[key] = self._in_file(value[key], texts[key], position, f"{way}.{slug(key)}")
        return value

    def _text_of_items(self, items: Items, position: int | None, way: str) -> str:
        """Return items as one list; what of each goes to a file stands there by itself."""
        texts = [
            self.text_of(item, position, f"{way}.{number}", where=f"item {number}")
            for number, item in enumerate(items)
        ]
        is_large = sum(map(len, texts)) > LARGE_BYTES
        if not is_large or not self._are_wanted() or any(MARK in text for text in texts):  # as above
            return codec.joined(texts, WHERE)
        return codec.encode(self._in_file(items, f"[{','.join(texts)}]", position, way), WHERE)

    def _are_wanted(self) -> bool:
        """Does what could be JSON go to files too?"""
        return self._record.flow is not None and files_of(self._store, self._record.flow).is_given

    def _keep(self, position: int | None, content: Content, way: str) -> dict[str, Any] | None:
        """Write a part of a value and return what stands for it; None where it goes to no file."""
        files = FlowFiles(None, is_batch=False)
        if self._record.flow is not None:
            files = files_of(self._store, self._record.flow)
        if files.folder is None and files.is_batch:
            raise NoFolder(
                f"{self._record.name} returned {content.what}, which goes to a file; run the same fan_out again with "
                "files=, a folder or bucket that all workers reach"
            )
        if files.folder is None or not (files.is_batch or self._by_task):
            return None
        data = content.write()
        name = f"{self._name(position)}{way}.{content.suffix}"
        files.folder.write(name, data, again=self._record.attempts_started > 1)
        return reference(name, len(data), digest_of(data))

    def _name(self, position: int | None) -> str:
        """Return how a row is called, in every run of it: its job, or the job it was added in and its number."""
        id = self._record.id
        return slug(id) if position is None else f"{id.partition('-')[0]}-{position}"


# A flow's folder does not change once there is one; it may be given later.
_known: weakref.WeakKeyDictionary[Store, dict[str, FlowFiles]] = weakref.WeakKeyDictionary()
_MOST_KNOWN = 1000  # flows


def files_of(store: Store, flow: str) -> FlowFiles:
    """Return where the files of a flow are; its record is read once."""
    known = _known.setdefault(store, {})
    if flow in known:
        return known[flow]
    record: Mapping[str, str] = store.flows.read(flow, *FIELDS)
    files = FlowFiles(folder_of_flow(store, flow, record), is_batch="spec" in record)
    if files.folder is not None:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[flow] = files
    return files
