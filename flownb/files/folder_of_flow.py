"""Where the files of a flow are: in the folder that its caller gave, or in that of the embedded server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from flownb.arguments import shown
from flownb.connection.folder import data_folder
from flownb.errors import OptionError
from flownb.files.file_folder import FileFolder
from flownb.wire.store import Store

FIELDS = ("name", "spec")  #: of a flow's record, that `folder_of_flow` reads
FILES = "files"  #: the folder of files in that of the embedded server
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 80  # characters of a flow's name in that of its folder


def given_folder(files: Any) -> str | None:
    """Return a caller's `files` as it is stored; raise `OptionError` for what no worker could write to.

    >>> given_folder("s3://bucket/results/"), given_folder(None)
    ('s3://bucket/results', None)
    """
    if files is None:
        return None
    if not isinstance(files, (str, os.PathLike)) or not str(files):
        raise OptionError(f"files: a folder, or a URL such as 's3://bucket/results', not {shown(files)}")
    text = os.fspath(files)
    if not isinstance(text, str) or not text.isprintable():
        raise OptionError(f"files: a path of printable text, not {shown(text)}")
    if "://" not in text:
        return os.path.abspath(os.path.expanduser(text))
    if "@" in urlsplit(text).netloc:
        raise OptionError(
            "files: no password in a URL: it is stored; credentials come from each worker's environment"
        )
    return text.rstrip("/")


def check_writable(folder: str) -> None:
    """Raise `OptionError` where this process cannot write to a folder, and say what is missing."""
    probe = f".flownb-{secrets.token_hex(8)}"
    try:
        there = FileFolder(folder, is_own=False)
        there.write(probe, b"")
        with suppress(PermissionError):  # who may write need not be one who may remove
            there.remove_files([probe])
    except ImportError as error:
        raise OptionError(f"files: {shown(folder)} needs a package: {error}") from None
    except Exception as error:  # each kind of storage raises its own
        said = " ".join(str(error).split()) or type(error).__name__
        raise OptionError(f"files: {shown(folder)} cannot be used from here: {said}") from None


def folder_of_batch(store: Store, name: str, given: str | None) -> FileFolder | None:
    """Return where files of batches of this name are, which share rows; `given` is their caller's folder.

    None where nobody has said where.
    """
    if given is not None:
        return FileFolder(f"{given}/{slug(name)}", is_own=False)
    own = own_folder(store)
    return None if own is None else FileFolder(f"{own}/{slug(name)}", is_own=True)


def folder_of_flow(store: Store, flow: str, record: Mapping[str, str]) -> FileFolder | None:
    """Return where files of a flow are that has this record."""
    if "spec" in record:
        return folder_of_batch(store, record["name"], given_in(record))
    own = own_folder(store)
    return None if own is None or "name" not in record else FileFolder(f"{own}/{slug(flow)}", is_own=True)


def find_folder(store: Store, flow: str | None) -> FileFolder | None:
    """Return where files of a flow are; None where there is no such flow, or nobody has said where."""
    return None if flow is None else folder_of_flow(store, flow, store.flows.read(flow, *FIELDS))


def own_folder(store: Store) -> str | None:
    """Return where the embedded server's folders of files are; None for another server."""
    data = data_folder(store.server.socket)
    return None if data is None else f"{data}/{FILES}/{slug(store.prefix)}"


def is_embedded(store: Store) -> bool:
    """Is it the embedded server, which keeps files beside its data?"""
    return own_folder(store) is not None


def given_in(record: Mapping[str, str]) -> str | None:
    """Return the folder that a batch's caller gave, from its record."""
    folder: str | None = json.loads(record.get("spec", "{}")).get("files")
    return folder


def slug(name: str) -> str:
    """Return a name as part of a file's name; names that differ stay different.

    >>> slug("score-nov"), slug("score: nov")
    ('score-nov', 'score-nov-e261fb7d')
    """
    safe = _UNSAFE.sub("-", name)[:_LONGEST_NAME]
    if safe == name:
        return safe
    return f"{safe}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
