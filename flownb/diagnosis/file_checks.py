"""Checks of files: those that values refer to are there, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.errors import FlowError, ServerRefused
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_flow, own_folder, slug
from flownb.files.references import names_in
from flownb.files.rows_in_files import is_in_file, name_of_rows, text_in_file
from flownb.files.stored_values import job_of
from flownb.state.shape import Declared
from flownb.wire import many_rows
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.limits import in_pieces

MISSING, ORPHANED, UNREACHABLE = "file-missing", "file-orphaned", "file-folder"
_NAMED = 3  # files in a line
_A_READ = 100  # flows


@dataclass
class _Contents:
    """A folder, and what the flows whose files are in it refer to."""

    folder: FileFolder
    name: str  #: of the flows
    flows: list[str] = field(default_factory=list)  #: the newest first
    roots: list[str] = field(default_factory=list)
    has_references: bool = False  #: values of theirs were seen to refer to files
    referred: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)  #: jobs whose values are all that they will refer to
    at_work: set[str] = field(default_factory=set)  #: other jobs, and those whose rows other jobs run


def check_files(flows: Sequence[str], with_files: Set[str], context: CheckContext) -> Iterator[Finding]:
    """Yield which files are missing, and which belong to nothing, in the folders of these flows.

    `with_files`: the flows of which values were seen to refer to files. Of others nothing is read but the folder.
    """
    folders: dict[str, _Contents] = {}
    own = own_folder(context.store)
    there = set(os.listdir(own)) if own and os.path.isdir(own) else set()
    for flow, record in _records(context.store, flows):
        if "spec" not in record and flow not in with_files and slug(flow) not in there:  # as most flows
            continue
        folder = folder_of_flow(context.store, flow, record) if record.keys() >= {"name", "root"} else None
        if folder is None or (folder.is_own and flow not in with_files and not os.path.isdir(folder.url)):
            continue
        contents = folders.setdefault(folder.url, _Contents(folder, record["name"]))
        contents.flows.append(flow)
        contents.roots.append(record["root"])
        contents.has_references |= flow in with_files
    for contents in folders.values():
        yield from _check_folder(contents, context)


def check_own_folder(context: CheckContext) -> Iterator[Finding]:
    """Yield which folders of the embedded server belong to no flow any more."""
    own = own_folder(context.store)
    if own is None or not os.path.isdir(own):
        return
    known = set[str]()
    for flow, record in _records(context.store, (flow for flow, _ in context.store.flows.pages(_A_READ))):
        folder = folder_of_flow(context.store, flow, record)
        known.add(folder.url if folder else "")
    for name in sorted(os.listdir(own)):
        if f"{own}/{name}" not in known:
            files = sorted(FileFolder(f"{own}/{name}", is_own=True).sizes())
            yield _orphaned(f"{own}/{name}", name, files, context)


def _records(store: Store, flows: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what flows' records say of their files; of one that is damaged, which is a finding of its own, nothing."""
    left = iter(flows)
    while some := list(islice(left, _A_READ)):
        for flow, found in zip(some, store.flows.read_many(some, ("root", "spec")), strict=True):
            yield flow, found.record


def remove_orphaned(store: Store, finding: Finding) -> None:
    """Remove the files of a finding, whose key is their folder."""
    _folder_of(store, finding).remove(finding.others)


def are_there(store: Store, finding: Finding) -> bool:
    """Say whether the orphaned files of a finding are still there."""
    return not _folder_of(store, finding).sizes().keys().isdisjoint(finding.others)


def _folder_of(store: Store, finding: Finding) -> FileFolder:
    own = own_folder(store)
    return FileFolder(finding.key, is_own=own is not None and finding.key.startswith(f"{own}/"))


def _read_flow(store: Store, root: str, contents: _Contents) -> None:
    """Read to which files the jobs of a flow refer, and which of its jobs have ended."""
    tree, gone = Declared(store, root), set[str]()
    for some in in_pieces(list(tree.jobs())):
        found = store.jobs.read(some, ("name", "returnvalue", "part", "finishedOn", "bind"))
        for key, job in zip(some, found, strict=True):
            if job is None:
                gone.add(key)
            else:
                _note_job(job, contents)
    for parent, _ in tree.branches() if gone else ():  # it has kept what they returned
        kept = store.children.read_kept_values(parent, [key for key in tree.children(parent) if key in gone])
        for text in kept.values():
            _note_value(text, contents)


def _note_job(job: JobRecord, contents: _Contents) -> None:
    """Note to which files a job refers, and what it has come to where that stands in a file."""
    is_known = all(_note_value(text, contents) for text in (job.returnvalue, job.part) if text)
    is_whole = is_known and job.finished_on is not None
    if many_rows.is_in_file(job.bind):
        contents.referred.add(name_of_rows(job.id))
    if is_whole:
        contents.ended.add(job_of(job.id))
    else:
        contents.at_work.add(job_of(job.id))


def _note_value(text: str, contents: _Contents) -> bool:
    """Note to which files a value refers; False where that is not known, so nothing of its job counts as orphaned."""
    contents.referred.update(names_in(text))
    if is_in_file(text):
        try:
            contents.referred.update(names_in(text_in_file(text, contents.folder)))
        except FlowError:
            return False
    return True


def _check_folder(contents: _Contents, context: CheckContext) -> Iterator[Finding]:
    try:
        there = contents.folder.sizes()
    except Exception as error:  # each kind of storage raises its own
        said = " ".join(str(error).split()) or type(error).__name__
        what = f"its files in {contents.folder.url} cannot be looked at from here: {said}"
        advice = "give this process access to them, and ask again"
        yield context.finding(UNREACHABLE, contents.flows[0], what, job=contents.name, advice=advice)
        return
    if not there and not contents.has_references:
        return
    for root in contents.roots:
        with suppress(ServerRefused):  # damaged, which is a finding of its own
            _read_flow(context.store, root, contents)
    if missing := sorted(contents.referred - there.keys()):
        are = "is" if len(missing) == 1 else "are"
        what = f"{_files(missing)} in {contents.folder.url} {are} gone: {_named(missing)}"
        advice = "run its rows again: the same fan_out with if_exists='rerun'"
        yield context.finding(MISSING, contents.flows[0], what, job=contents.name, advice=advice)
    unknown = sorted(there.keys() - contents.referred)
    ended = contents.ended - contents.at_work
    needed = _jobs_at_work({job_of(name.lstrip(".")) for name in unknown} - ended, contents, context)
    orphaned = [name for name in unknown if job_of(name.lstrip(".")) not in needed]
    if orphaned:
        yield _orphaned(contents.folder.url, contents.name, orphaned, context)


def _jobs_at_work(jobs: set[str], contents: _Contents, context: CheckContext) -> set[str]:
    """Return those of these jobs that are there, also of flows that were added since: they may be writing a file."""
    found = set[str]()
    for base in context.store.flows.read_queues(contents.flows[0]):
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
