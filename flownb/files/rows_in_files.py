"""The rows of a many-row job, and what they have come to, where these stand in files beside the job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from flownb.errors import FlowError
from flownb.files.file_folder import FileFolder
from flownb.files.references import MARK
from flownb.wire import codec, many_rows
from flownb.wire.amounts import Amounts, noted
from flownb.wire.many_rows import RowsValue
from flownb.wire.records import JobRecord

SMALL_BYTES = 1_000  #: of JSON that stand in the job itself: a file for less would save nothing
BYTES_TOGETHER = 32_000_000  #: of files that are read or written together

_ROWS_IN_FILE = f'{{"rows":{{{MARK}:'
# What rows have come to begins with ``{"values":`` where it stands in the job itself. The value of one row may be a
# file as well: of another name, made of the row's job, or of a many-row job and the row's number.
_VALUE_IN_FILE = re.compile(rf'\{{{MARK}:"m[a-z2-7]{{16}}(?:\.\d+)+\.json"')
_NAME_OF_ROWS = re.compile(r"m[a-z2-7]{16}\.rows\.json")

FindFolder = Callable[[], "FileFolder | None"]


def name_of_rows(id: str) -> str:
    """Return the file that holds the rows of a job, and of the jobs to which it delegates some of them.

    The id is made of the rows, so a file of this name always holds the same.

    >>> name_of_rows("mabcdefghijklmnop-1")
    'mabcdefghijklmnop.rows.json'
    """
    return f"{id.partition('-')[0]}.rows.json"


def name_of_value(id: str, added: int, run: int) -> str:
    """Return the file for what the rows of a job have come to in its n-th run, of a job that was `added` (ms) then.

    Another run never writes it: one that lost its lease, and ends late, changes nothing that counts.

    >>> name_of_value("mabcdefghijklmnop-1", 1795974107118, 2)
    'mabcdefghijklmnop.1.1795974107118.2.json'
    """
    return f"{name_of_job(id, added)}.{run}.json"


def name_of_job(id: str, added: int) -> str:
    """Return how the names of all files begin for what the rows of a job have come to."""
    return f"{id.replace('-', '.')}.{added}"


# ---- rows --------------------------------------------------------------------------------------------------


class RowsReference(NamedTuple):
    """What stands in a job's data in place of rows that stand in a file."""

    name: str
    size: int  #: bytes of the file
    start: int
    stop: int


class RowsOfJob:
    """The rows of one job: those in its data, or in the file to which these refer."""

    def __init__(self, data: str, find_folder: FindFolder) -> None:
        self.are_in_file = data.startswith(_ROWS_IN_FILE)
        self._data = data
        self._find_folder = find_folder  # asked where the rows are in a file

    @cached_property
    def _texts(self) -> list[str]:
        return [codec.encode(row, "row") for row in codec.decode(self._data)["rows"]]

    @property
    def kept(self) -> list[list[Any]]:
        """What earlier jobs' steps have returned, row by row, where the data say so; such rows stand in no file."""
        inside: list[list[Any]] = codec.decode(self._data).get("kept", [])
        return inside

    @property
    def spent(self) -> list[dict[str, int]]:
        """What they have spent, row by row, in another job from which they come."""
        if '"spent":' not in self._data:  # nearly always
            return []
        inside: list[dict[str, int]] = codec.decode(self._data).get("spent", [])
        return inside

    @cached_property
    def _kept(self) -> list[str]:
        return [codec.encode(row, "row") for row in self.kept]

    @cached_property
    def reference(self) -> RowsReference:
        """Where rows are that stand in a file."""
        rows = codec.decode(self._data)["rows"]
        found = RowsReference(rows["flownb:file"], rows["bytes"], rows["from"], rows["to"])
        if not _NAME_OF_ROWS.fullmatch(found.name):
            raise FlowError("its data name a file that is not one of rows: they are damaged")
        return found

    def read(self) -> list[Any]:
        """Return the rows, each what a job of that row alone would hold."""
        if not self.are_in_file:
            inside: list[Any] = codec.decode(self._data)["rows"]
            return inside
        return next(rows for _, rows in read_rows({"": self}, self._find_folder))

    def __len__(self) -> int:
        if not self.are_in_file:
            return len(self._texts)
        return self.reference.stop - self.reference.start

    def data(self, start: int, stop: int, spent: Sequence[Amounts] | None = None) -> str:
        """Return the data of a job that holds the rows from `start` to `stop`, of these.

        Row by row they have `spent` so much, mostly what they had spent when this job was made.
        """
        spent = self.spent[start:stop] if spent is None else spent
        if not self.are_in_file:
            return many_rows.data_of(self._texts[start:stop], self._kept[start:stop], spent)
        name, size, first, _ = self.reference
        return noted(many_rows.data_in_file(name, size, first + start, first + stop), spent)


def read_rows(jobs: Mapping[str, RowsOfJob], find_folder: FindFolder) -> Iterator[tuple[str, list[Any]]]:
    """Yield the rows of jobs that stand in files; those to which a job has delegated some share its file."""
    sizes = {job.reference.name: job.reference.size for job in jobs.values()}
    users: dict[str, list[str]] = {}
    for key, job in jobs.items():
        users.setdefault(job.reference.name, []).append(key)
    for name, text in _read_in_pieces(sizes, find_folder):
        rows = codec.decode(text)["rows"]
        for key in users[name]:
            yield key, rows[jobs[key].reference.start : jobs[key].reference.stop]


class RowsToFiles:
    """Puts the rows of jobs that are to be stored into files of a folder, some megabytes at a time."""

    def __init__(self, folder: FileFolder) -> None:
        self._folder = folder
        self._unwritten: dict[str, bytes] = {}
        self._size = 0

    def data_in_file(self, id: str, data: str, rows: int) -> str:
        """Return what stands in a job in place of these data, in which are so many rows."""
        name, content = name_of_rows(id), data.encode("utf-8", "surrogateescape")
        self._unwritten[name] = content
        self._size += len(content)
        if self._size > BYTES_TOGETHER:
            self.write()
        return many_rows.data_in_file(name, len(content), 0, rows)

    def write(self) -> None:
        """Write the files: before the jobs are stored that refer to them."""
        try:
            self._folder.write_each(self._unwritten)
        except Exception as error:  # each kind of storage raises its own
            said = " ".join(str(error).split()) or type(error).__name__
            raise FlowError(f"files: {self._folder.url}: the rows cannot be written there: {said}") from None
        self._unwritten, self._size = {}, 0


# ---- what rows have come to --------------------------------------------------------------------------------------


def is_in_file(text: str) -> bool:
    """Say whether a job's value, or its ``part``, is a reference to what its rows have come to.

    >>> is_in_file('{"flownb:file":"mabcdefghijklmnop.7.1.json","bytes":2}'), is_in_file('{"values":[1],"errors":{}}')
    (True, False)
    """
    return _VALUE_IN_FILE.match(text) is not None


def is_of_rows(text: str) -> bool:
    """Does the value of a many-row job say what its rows have come to? That of another program's worker does not.

    >>> is_of_rows('{"values":[1],"errors":{}}'), is_of_rows('{"who":"node"}')
    (True, False)
    """
    is_inside = text.startswith('{"values":[') and '],"errors":{' in text
    return is_inside or is_in_file(text)


def of_rows(job: JobRecord) -> str | None:
    """Return what a many-row job says of its rows: its value, or what its last run of flownb's has left."""
    is_said = job.returnvalue is not None and is_of_rows(job.returnvalue)
    return job.returnvalue if is_said else job.part


def reference(name: str, size: int, open: list[int] | None = None) -> str:
    """Return what stands in a job for a file that holds what its rows have come to; `open` are still to be run.

    >>> reference("m1.7.1.json", 20, [3])
    '{"flownb:file":"m1.7.1.json","bytes":20,"open":[3]}'
    """
    made: dict[str, Any] = {"flownb:file": name, "bytes": size}
    return json.dumps(made if open is None else {**made, "open": open}, separators=(",", ":"))


def read_value(text: str, find_folder: FindFolder) -> RowsValue:
    """Return what the rows of a job have come to, from its value or its ``part``."""
    return next(value for _, value in read_values({"": text}, find_folder))


def read_values(texts: Mapping[str, str], find_folder: FindFolder) -> Iterator[tuple[str, RowsValue]]:
    """Yield for each job what its rows have come to, from its value or its ``part``."""
    in_files = {key: text for key, text in texts.items() if is_in_file(text)}
    yield from ((key, RowsValue.read(text)) for key, text in texts.items() if key not in in_files)
    for key, whole in whole_texts(in_files, find_folder):
        value, stub = RowsValue.read(whole), json.loads(in_files[key])
        if "open" in stub:  # the file was written before somebody asked for these
            value.open = stub["open"]
        yield key, value


def whole_texts(texts: Mapping[str, str], find_folder: FindFolder) -> Iterator[tuple[str, str]]:
    """Yield for each job what stands in the file to which its value refers; not all is held at a time."""
    stubs = {key: json.loads(text) for key, text in texts.items()}
    keys = {stub["flownb:file"]: key for key, stub in stubs.items()}
    sizes = {stub["flownb:file"]: stub["bytes"] for stub in stubs.values()}
    yield from ((keys[name], whole) for name, whole in _read_in_pieces(sizes, find_folder))


def text_in_file(text: str, folder: FileFolder | None) -> str:
    """Return what stands in the file to which a job's value, or its ``part``, refers."""
    return next(whole for _, whole in whole_texts({"": text}, lambda: folder))


def _read_in_pieces(sizes: Mapping[str, int], find_folder: FindFolder) -> Iterator[tuple[str, str]]:
    """Yield the texts of files by their names, some at a time: together they may be large."""
    some: dict[str, int] = {}
    together = 0
    for name, size in sizes.items():
        some[name] = size
        together += size
        if together > BYTES_TOGETHER:
            yield from _read(some, find_folder()).items()
            some, together = {}, 0
    if some:
        yield from _read(some, find_folder()).items()


def _read(sizes: Mapping[str, int], folder: FileFolder | None) -> dict[str, str]:
    """Return the texts of files, by their names; raise FlowError where one is not what was written."""
    if folder is None:
        raise FlowError(f"{next(iter(sizes))}: rows stand in this file, and its folder is not known here")
    try:
        found = folder.read_each(sizes)
    except Exception as error:  # each kind of storage raises its own
        said = " ".join(str(error).split()) or type(error).__name__
        raise FlowError(f"{folder.url}: rows stand in files there, and they cannot be read: {said}") from None
    for name, size in sizes.items():
        if name not in found or len(found[name]) != size:
            what = "is gone" if name not in found else "was changed"
            raise FlowError(
                f"{folder.path_of(name)}: rows stood in this file, and it {what}; run them again: if_exists='rerun'"
            )
    return {name: codec.text(found[name]) for name in sizes}
