"""A folder of files, on this machine or behind any URL that fsspec knows: whole files by their names."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# In a caller's folder there may be files of his: of those of batches, the names begin with the id of a row or a batch.
_OURS = re.compile(r"\.?[rmb][a-z2-7]{16,19}[-.].*")

# Where what is put under a name stands there whole, or not at all. Elsewhere it is written beside, and then renamed.
_WHOLE_BY_THEMSELVES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"}


@dataclass(frozen=True)
class FileFolder:
    """A folder; it need not be there before something is written."""

    url: str  #: a path, or a URL without credentials
    is_own: bool  #: the embedded server's: what is in it goes with the flow

    def path_of(self, name: str) -> str:
        """Return where a file of this name is, as `fsspec.open` takes it."""
        return f"{self.url}/{name}"

    def write(self, name: str, data: bytes, *, again: bool = False) -> None:
        """Write a file; one of this name that is there is replaced. It is never seen in part.

        `again`: a writer may have died before; what it has left unfinished is removed.
        """
        fs, folder = _opened(self.url)
        if not _WHOLE_BY_THEMSELVES.isdisjoint(_protocols(fs)):
            fs.pipe_file(f"{folder}/{name}", data)
            return
        fs.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{name}.{secrets.token_hex(4)}"
        try:
            fs.pipe_file(unfinished, data)
            fs.mv(unfinished, f"{folder}/{name}")
        except BaseException:
            if fs.exists(unfinished):
                fs.rm_file(unfinished)
            raise
        if again:
            self.remove_unfinished(f"{name}.")

    def remove_unfinished(self, beginning: str) -> None:
        """Remove what writers that died have left of files whose names begin so."""
        fs, folder = _opened(self.url)
        if not _WHOLE_BY_THEMSELVES.isdisjoint(_protocols(fs)):
            return
        for left in fs.glob(f"{folder}/.{beginning}*"):
            with suppress(FileNotFoundError):  # removed by another one meanwhile
                fs.rm_file(left)

    def write_each(self, files: Mapping[str, bytes]) -> None:
        """Write files by their names, as `write` does; to a bucket many at a time."""
        fs, folder = _opened(self.url)
        if not _WHOLE_BY_THEMSELVES.isdisjoint(_protocols(fs)):
            fs.pipe({f"{folder}/{name}": data for name, data in files.items()})
            return
        for name, data in files.items():
            self.write(name, data)

    def read_each(self, names: Collection[str]) -> dict[str, bytes]:
        """Return what is in these files, by name; from a bucket many at a time. One that is not there is left out."""
        fs, folder = _opened(self.url)
        # Of `cat` each name would be looked up first, one after another.
        contents = fs.cat_ranges([f"{folder}/{name}" for name in names], None, None, on_error="return")
        found: dict[str, bytes] = {}
        for name, content in zip(names, contents, strict=True):
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, BaseException):
                raise content
            found[name] = content
        return found

    def sizes(self) -> dict[str, int]:
        """Return the files of values that are there, and how many bytes each has; also unfinished ones."""
        if self.is_own and not os.path.isdir(self.url):  # as with most flows: nothing is imported for them
            return {}
        fs, folder = _opened(self.url)
        fs.invalidate_cache()
        try:
            found = fs.ls(folder, detail=True)
        except FileNotFoundError:
            return {}
        files = {os.path.basename(one["name"]): one for one in found if one["type"] == "file"}
        return {name: int(one["size"] or 0) for name, one in files.items() if self.is_own or is_ours(name)}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; the folder, which flownb has made for a flow, goes when it is empty."""
        self.remove_files(names)
        fs, folder = _opened(self.url)
        if self.sizes() or not fs.exists(folder) or (not self.is_own and fs.ls(folder)):
            return
        with suppress(OSError):  # somebody has put a file there just now
            fs.rmdir(folder)

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove those of these files that are there."""
        fs, folder = _opened(self.url)
        for name in names:
            try:
                fs.rm_file(f"{folder}/{name}")
            except FileNotFoundError:  # by somebody else meanwhile
                continue


def is_ours(name: str) -> bool:
    """Say whether a file of this name is, by the name, one of a batch's row."""
    return _OURS.fullmatch(name) is not None


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


@lru_cache(maxsize=256)
def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it. Credentials are those of the environment."""
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(url)
    return fs, str(path).rstrip("/")
