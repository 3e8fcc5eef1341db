"""Values of jobs as they are stored, and the files they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import find_folder
from flownb.files.references import MARK, with_files
from flownb.wire import codec
from flownb.wire.store import Store
from flownb.wire.store.limits import in_pieces


def decoded(store: Store, flow: str | None, text: str) -> Any:
    """Return the value of a job of this flow from its JSON text; what stands in a file is a `File`."""
    return decoded_each(store, flow, {"": text})[""]


def decoded_each(store: Store, flow: str | None, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of each JSON text of a flow's jobs."""
    values = codec.decode_each(texts)
    if flow is None or not any(MARK in text for text in texts.values()):
        return values
    folder = find_folder(store, flow)
    return {key: with_files(value, folder) for key, value in values.items()}


def job_of(name: str) -> str:
    """Return the id of the job whose value is in a file of this name; of a row among many, of the job it was added in.

    >>> job_of("rabcdefghijklmnop.picture.png"), job_of("mabcdefghijklmnop-17.png")
    ('rabcdefghijklmnop', 'mabcdefghijklmnop')
    """
    id = name.partition(".")[0]
    return id.partition("-")[0] if id.startswith("m") else id


def names_of_gone_jobs(store: Store, folder: FileFolder, bases: Iterable[str]) -> list[str]:
    """Return the files of jobs that are in none of these queues any more."""
    names = list(folder.sizes())
    jobs = list(dict.fromkeys(map(job_of, names)))
    there = set[str]()
    for base in bases:
        for some in in_pieces(jobs):
            there.update(store.jobs.stored_ids(base, some))
    return [name for name in names if job_of(name) not in there]
