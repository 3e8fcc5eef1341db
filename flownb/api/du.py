"""`du`: what each flow takes of the server's memory, and of the folders of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from flownb import hooks
from flownb.api.job import store_of
from flownb.connection import Connection
from flownb.errors import ServerRefused
from flownb.files.folder_of_flow import FIELDS, folder_of_flow
from flownb.state.listed_flow import ListedFlow, pages_of_listed
from flownb.state.shape import Declared
from flownb.wire import keys
from flownb.wire.store import Store

if TYPE_CHECKING:
    import pandas as pd

MOST_MEASURED = 50  # jobs of one kind in a flow; of more, some in equal distances stand for all


class Usage(NamedTuple):
    """What one flow takes."""

    flow: str  #: ``queue:id`` of its root, as `attach` takes it
    name: str
    state: str
    jobs: int
    server: int  #: bytes of the server's memory
    files: int  #: bytes of files


def du(*, connection: Connection | None = None) -> pd.DataFrame:
    """Return what each flow takes, the largest first: a DataFrame flow name state jobs server files, in bytes.

    `server` is memory; of many jobs of one kind some are measured. `files` are counted with the newest flow of a name.
    What queues keep beside jobs, such as events, is no flow's; neither is what other programs stored.

    >>> flow = add({"name": "total", "queueName": "doc-sizes", "data": "x" * 10_000})
    >>> sizes = du().set_index("name")
    >>> sizes.loc["total", "server"] > 10_000, sizes.loc["total", "files"]
    (np.True_, np.int64(0))
    """
    _, store = store_of(connection)
    found = sorted(usages(store), key=lambda one: one.server + one.files, reverse=True)
    return hooks.tables.usage_frame(found)


def usages(store: Store) -> Iterator[Usage]:
    """Yield what each flow of flownb's takes."""
    for page in pages_of_listed(store):
        listed = [one for _, _, one in page if one]
        for one, server in zip(listed, _sizes_on_server(store, listed), strict=True):
            yield Usage(
                flow=keys.short(one.record["root"], store.prefix),
                name=one.record["name"],
                state=one.state,
                jobs=one.jobs,
                server=server,
                files=0 if one.is_older else _size_of_files(store, one),
            )


def _sizes_on_server(store: Store, flows: Sequence[ListedFlow]) -> list[int]:
    roots = [one.record["root"] for one in flows]
    groups = store.declared.read_groups(roots)
    samples = [
        _sample(
            store, root, [group["first"] for group in some or ()], sum(group["count"] for group in some or ())
        )
        for root, some in zip(roots, groups, strict=True)
    ]
    wanted = [job for sample in samples for job in sample]
    of_flows, of_jobs = store.flows.read_sizes([one.flow for one in flows], [*roots, *wanted])
    if flows and not sum(of_flows):
        raise ServerRefused("du: the server does not tell sizes: its user may not call MEMORY USAGE")
    sizes, below = [], iter(of_jobs[len(roots) :])
    for one, of_flow, of_root, sample in zip(flows, of_flows, of_jobs, samples, strict=False):
        measured = list(islice(below, len(sample)))
        mean = sum(measured) / max(len(measured), 1)
        sizes.append(of_flow + of_root + round(mean * max(one.jobs - 1, 0)))
    return sizes


def _sample(store: Store, root: str, firsts: Sequence[Sequence[str]], count: int) -> list[str]:
    """Return children of a root that stand for all jobs below it."""
    known = [job for first in firsts for job in first]
    if len(known) >= count:
        return known
    children = Declared(store, root).children(root)
    return children[:: max(len(children) // MOST_MEASURED, 1)][:MOST_MEASURED]


def _size_of_files(store: Store, listed: ListedFlow) -> int:
    is_batch = listed.record.get("kind") == "batch"
    record = store.flows.read(listed.flow, *FIELDS) if is_batch else listed.record
    folder = folder_of_flow(store, listed.flow, record)
    return sum(folder.sizes().values()) if folder else 0
