"""Checks of files: those that values refer to are there, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.errors import ServerRefused
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_flow, own_folder
from flownb.files.references import names_in
from flownb.files.stored_values import job_of
from flownb.state.shape import Declared
from flownb.wire.store import Store
from flownb.wire.store.limits import in_pieces

MISSING, ORPHANED, UNREACHABLE = "file-missing", "file-orphaned", "file-folder"
_NAMED = 3  # files in a line


@dataclass
class _Contents:
    """A folder, and what the flows whose files are in it refer to."""

    folder: FileFolder
    name: str  #: of the flows
    flow: str  #: the newest of them
    referred: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)  #: jobs whose values are all that they will refer to


def check_files(flows: Sequence[str], context: CheckContext) -> Iterator[Finding]:
    """Yield which files are missing, and which belong to nothing, in the folders of these flows."""
    store = context.store
    folders: dict[str, _Contents] = {}
    for flow in flows:
        with suppress(ServerRefused):  # damaged, which is a finding of its own
            _read_flow(store, flow, folders)
    for contents in folders.values():
        yield from _check_folder(contents, context)


def check_own_folder(context: CheckContext) -> Iterator[Finding]:
    """Yield which folders of the embedded server belong to no flow any more."""
    own = own_folder(context.store)
    if own is None or not os.path.isdir(own):
        return
    known = set[str]()
    for flow, _ in context.store.flows.pages(100):
        with suppress(ServerRefused):
            folder = folder_of_flow(context.store, flow, context.store.flows.read(flow))
            known.add(folder.url if folder else "")
    for name in sorted(os.listdir(own)):
        if f"{own}/{name}" not in known:
            files = sorted(FileFolder(f"{own}/{name}", is_own=True).sizes())
            yield _orphaned(f"{own}/{name}", name, files, context)


def remove_orphaned(store: Store, finding: Finding) -> None:
    """Remove the files of a finding, whose key is their folder."""
    _folder_of(store, finding).remove(finding.others)


def are_there(store: Store, finding: Finding) -> bool:
    """Say whether the orphaned files of a finding are still there."""
    return not _folder_of(store, finding).sizes().keys().isdisjoint(finding.others)


def _folder_of(store: Store, finding: Finding) -> FileFolder:
    own = own_folder(store)
    return FileFolder(finding.key, is_own=own is not None and finding.key.startswith(f"{own}/"))


def _read_flow(store: Store, flow: str, folders: dict[str, _Contents]) -> None:
    record = store.flows.read(flow)
    folder = folder_of_flow(store, flow, record) if record.keys() >= {"name", "root"} else None
    if folder is None or (folder.is_own and not os.path.isdir(folder.url)):
        return
    contents = folders.setdefault(folder.url, _Contents(folder, record["name"], flow))
    for some in in_pieces(list(Declared(store, record["root"]).jobs())):
        for job in store.jobs.read(some, ("name", "returnvalue", "part", "finishedOn")):
            if job is None:
                continue
            for text in filter(None, (job.returnvalue, job.part)):
                contents.referred.update(names_in(text))
            if job.finished_on is not None:
                contents.ended.add(job.id)


def _check_folder(contents: _Contents, context: CheckContext) -> Iterator[Finding]:
    try:
        there = contents.folder.sizes()
    except Exception as error:  # each kind of storage raises its own
        said = " ".join(str(error).split()) or type(error).__name__
        what = f"its files in {contents.folder.url} cannot be looked at from here: {said}"
        advice = "give this process access to them, and ask again"
        yield context.finding(UNREACHABLE, contents.flow, what, job=contents.name, advice=advice)
        return
    if missing := sorted(contents.referred - there.keys()):
        what = f"{_files(missing)} in {contents.folder.url} are gone: {_named(missing)}"
        advice = "run its rows again: the same fan_out with if_exists='rerun'"
        yield context.finding(MISSING, contents.flow, what, job=contents.name, advice=advice)
    unknown = sorted(there.keys() - contents.referred)
    needed = _jobs_at_work({job_of(name.lstrip(".")) for name in unknown} - contents.ended, contents, context)
    orphaned = [name for name in unknown if job_of(name.lstrip(".")) not in needed]
    if orphaned:
        yield _orphaned(contents.folder.url, contents.name, orphaned, context)


def _jobs_at_work(jobs: set[str], contents: _Contents, context: CheckContext) -> set[str]:
    """Return those of these jobs that are there, also of flows that were added since: they may be writing a file."""
    found = set[str]()
    for base in context.store.flows.read_queues(contents.flow):
        for some in in_pieces(sorted(jobs)):
            found.update(context.store.jobs.stored_ids(base, some))
    return found


def _orphaned(url: str, job: str, names: Sequence[str], context: CheckContext) -> Finding:
    what = f"no value refers to {_files(names)} in {url}: {_named(names)}"
    return context.finding(ORPHANED, url, what, job=job, remedy="remove them", others=tuple(names))


def _files(names: Sequence[str]) -> str:
    return f"{len(names):,} file{'' if len(names) == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
