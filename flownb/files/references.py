"""What stands in JSON for a value that is in a file: ``{"flownb:file": name, "bytes": size, "digest": text}``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flownb.errors import FlowError
from flownb.files.contents import MEDIA_TYPES, Content, content_of
from flownb.files.file import File, read
from flownb.files.file_folder import FileFolder, is_ours
from flownb.files.folder_of_flow import slug
from flownb.wire.plain_json import AS_IT_IS, fields_of

MARK = '"flownb:file"'  #: in a JSON text that may hold such a reference
KEY = "flownb:file"  #: no dict of a caller's in the inputs of a batch has it
_KEYS = {KEY, "bytes", "digest"}
_STRUCT = {"path", "bytes", "media_type", "digest"}
_NAME = re.compile("[A-Za-z0-9_.-]+")
_NAMES = re.compile(rf'\{{"flownb:file":"({_NAME.pattern})","bytes":\d+[,}}]')
_INPUTS = re.compile(r'\{"flownb:file":"((?:[^"\\]|\\.)*)"(,"bytes":\d+,"digest":"[0-9a-f]+"\})')
_HOLDERS = (dict, list, tuple)
_PLAIN = {MEDIA_TYPES["txt"], MEDIA_TYPES["json"]}
_MOST_DEPTH = 20  # levels of lists and dicts in which values for files are looked for

Keep = Callable[[Content, str], "dict[str, Any] | None"]  # write a content, whose way in the value this is


def with_references(value: Any, keep: Keep, *, with_arrays: Callable[[], bool], way: str = "") -> Any:
    """Return a value in which what `keep` returns stands for those parts that go to files; None leaves a part.

    `way` is the beginning of each part's way.

    >>> with_references({"n": 1, "raw": b"ab"}, lambda content, way: {"file": way}, with_arrays=bool)
    {'n': 1, 'raw': {'file': '.raw'}}
    """
    return _Replacing(keep, with_arrays).replaced(value, way, 0)


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


def with_files(
    value: Any, folder: FileFolder | None, *, as_given: Callable[[File], Any] = lambda file: file
) -> Any:
    """Return a decoded value in which each reference is a `File` again, or what `as_given` makes of that."""
    if type(value) is list:
        return [with_files(item, folder, as_given=as_given) for item in value]
    if type(value) is not dict:
        return value
    if value.keys() == _KEYS and (file := _file(value[KEY], value["bytes"], value["digest"], folder)):
        return as_given(file)
    return {key: with_files(item, folder, as_given=as_given) for key, item in value.items()}


def whole_if_plain(file: File) -> Any:
    """Return what a file holds that is there for its size alone, text and JSON; any other file as it is.

    >>> whole_if_plain(File("results/nov/r1.png", 2048, "image/png"))
    File(png, 2.0 kB)
    """
    return file.load() if file.media_type in _PLAIN else file


def reference(name: str, size: int, digest: str) -> dict[str, Any]:
    """Return what stands in JSON for a file."""
    return {KEY: name, "bytes": size, "digest": digest}


def digest_of(data: bytes) -> str:
    """Return a digest of what goes into a file."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def as_input(file: File) -> dict[str, Any]:
    """Return what stands for a file in the inputs of a batch's row: its whole path, as it is another flow's."""
    return reference(file.path, file.bytes, file.digest)


def by_content(text: str) -> str:
    """Return a row's JSON text in which files are told by kind and content; by their path where that says nothing.

    The same content made again stands elsewhere, and the row that reads it is still the same one.

    >>> by_content('{"n":1,"raw":{"flownb:file":"/a/r1.bin","bytes":3,"digest":"1f"}}')
    '{"n":1,"raw":{"flownb:file":".bin","bytes":3,"digest":"1f"}}'
    """
    return _INPUTS.sub(_without_path, text) if MARK in text else text


def _without_path(found: re.Match[str]) -> str:
    path, content = found.groups()
    return f'{{{MARK}:".{path.rpartition(".")[2]}"{content}'


def as_inputs(data: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a job's data in which each `File`, also in its dicts and lists, is a reference; and whether there is one.

    Raises `FlowError` where a dict of the caller's beside it would be read as a reference too.

    >>> as_inputs({"n": 1}), as_inputs({"pages": [File("r1.png", 3, "image/png", "1f")]})
    (({'n': 1}, False), ({'pages': [{'flownb:file': 'r1.png', 'bytes': 3, 'digest': '1f'}]}, True))
    """
    made, files = _with_input_references(data, 0)
    if files and _has_own_key(data, 0):
        raise FlowError(f"the dict's key {KEY!r} says in flownb's own data where a file is; rename it")
    return made, files > 0


def _with_input_references(value: Any, depth: int) -> tuple[Any, int]:
    """The same for any value, and how many files it has."""
    if type(value) is File:
        return as_input(value), 1
    if type(value) not in _HOLDERS or depth > _MOST_DEPTH:
        return value, 0
    is_dict = type(value) is dict
    made, files = value, 0
    for at, part in value.items() if is_dict else enumerate(value):
        new, found = _with_input_references(part, depth + 1)
        if found:
            if made is value:
                made = value.copy() if is_dict else list(value)
            made[at], files = new, files + found
    return made, files


def _has_own_key(value: Any, depth: int) -> bool:
    if type(value) not in _HOLDERS or depth > _MOST_DEPTH:
        return False
    if type(value) is not dict:
        return any(_has_own_key(part, depth + 1) for part in value)
    return KEY in value or any(_has_own_key(part, depth + 1) for part in value.values())


def file_of_struct(value: Mapping[Any, Any]) -> File | None:
    """Return the file that a struct in a frame of polars or Arrow stands for; None where it is a caller's own dict."""
    if value.keys() != _STRUCT:
        return None
    path, size = value["path"], value["bytes"]
    if not isinstance(path, str) or not isinstance(size, int) or not is_ours(path.rpartition("/")[2]):
        return None
    media_type = MEDIA_TYPES.get(path.rpartition(".")[2])
    made = File(path, size, media_type or "", str(value["digest"]))
    return made if made.media_type == value["media_type"] else None


def with_input_files(data: Any) -> Any:
    """Return a row's decoded data in which each reference is a `File` again."""
    if type(data) is list:
        return [with_input_files(item) for item in data]
    if type(data) is not dict:
        return data
    if data.keys() == _KEYS:
        path, media_type = data[KEY], MEDIA_TYPES.get(str(data[KEY]).rpartition(".")[2])
        return File(path, data["bytes"], media_type, data["digest"]) if media_type else data
    return {key: with_input_files(item) for key, item in data.items()}


def _file(name: Any, size: Any, digest: Any, folder: FileFolder | None) -> File | None:
    if not isinstance(name, str) or not isinstance(size, int) or not isinstance(digest, str):
        return None
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2])
    if media_type is None or folder is None or not _NAME.fullmatch(name):
        return None
    return File(folder.path_of(name), size, media_type, digest)


def names_in(text: str) -> list[str]:
    """Return the names to which a stored value refers.

    >>> names_in('{"a":{"flownb:file":"r1.a.png","bytes":3,"digest":"1f"}}')
    ['r1.a.png']
    """
    return _NAMES.findall(text) if MARK in text else []
