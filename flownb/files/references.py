"""What stands in JSON for a value that is in a file: ``{"flownb:file": name, "bytes": size}``."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from flownb.files.contents import MEDIA_TYPES, Content, content_of
from flownb.files.file import File, read
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import slug
from flownb.wire.plain_json import AS_IT_IS, fields_of

MARK = '"flownb:file"'  #: in a JSON text that may hold such a reference
_KEYS = {"flownb:file", "bytes"}
_NAME = re.compile("[A-Za-z0-9_.-]+")
_NAMES = re.compile(rf'\{{"flownb:file":"({_NAME.pattern})","bytes":\d+\}}')
_MOST_DEPTH = 20  # levels of lists and dicts in which values for files are looked for

Keep = Callable[[Content, str], "dict[str, Any] | None"]  # write a content, whose way in the value this is


def with_references(value: Any, keep: Keep, *, with_arrays: Callable[[], bool]) -> Any:
    """Return a value in which what `keep` returns stands for those parts that go to files; None leaves a part.

    >>> with_references({"n": 1, "raw": b"ab"}, lambda content, way: {"file": way}, with_arrays=bool)
    {'n': 1, 'raw': {'file': '.raw'}}
    """
    return _Replacing(keep, with_arrays).replaced(value, "", 0)


class _Replacing:
    """One walk through a value. What it need not change it returns itself."""

    def __init__(self, keep: Keep, with_arrays: Callable[[], bool]) -> None:
        self._keep = keep
        self._with_arrays = with_arrays

    def replaced(self, value: Any, way: str, depth: int) -> Any:
        kind = type(value)
        if kind in AS_IT_IS or depth > _MOST_DEPTH:
            return value
        if kind in (dict, list, tuple):
            return self._with_new_parts(value, way, depth)
        if kind is File:
            return self._with_copy(value, way)
        if (content := content_of(value, with_arrays=self._with_arrays)) is not None:
            kept = self._keep(content, way)
            return value if kept is None else kept
        fields = fields_of(value)
        new = fields and self._with_new_parts(fields, way, depth)
        return value if new is fields else new

    def _with_copy(self, file: File, way: str) -> Any:
        """A task returns a file that it was given: its flow gets one of its own, as the other may go."""
        suffix = file.path.rpartition(".")[2]
        kept = self._keep(Content(suffix, partial(read, file.path), "a File"), way)
        return file if kept is None else kept

    def _with_new_parts(self, value: Any, way: str, depth: int) -> Any:
        made = value
        for at, part in value.items() if type(value) is dict else enumerate(value):
            if type(part) in AS_IT_IS:
                continue
            new = self.replaced(part, f"{way}.{slug(str(at))}", depth + 1)
            if new is not part:
                if made is value:
                    made = value.copy() if type(value) is dict else list(value)
                made[at] = new
        return made


def with_files(value: Any, folder: FileFolder | None) -> Any:
    """Return a decoded value in which each reference is a `File` again."""
    if type(value) is list:
        return [with_files(item, folder) for item in value]
    if type(value) is not dict:
        return value
    if value.keys() == _KEYS and (file := _file(value["flownb:file"], value["bytes"], folder)):
        return file
    return {key: with_files(item, folder) for key, item in value.items()}


def _file(name: Any, size: Any, folder: FileFolder | None) -> File | None:
    if not isinstance(name, str) or not isinstance(size, int):
        return None
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2])
    if media_type is None or folder is None or not _NAME.fullmatch(name):
        return None
    return File(folder.path_of(name), size, media_type)


def names_in(text: str) -> list[str]:
    """Return the names to which a stored value refers.

    >>> names_in('{"a":{"flownb:file":"r1.a.png","bytes":3}}')
    ['r1.a.png']
    """
    return _NAMES.findall(text) if MARK in text else []
