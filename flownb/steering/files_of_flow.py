"""The files of a flow that is being removed."""

from __future__ import annotations

from collections.abc import Mapping

from flownb.files.folder_of_flow import folder_of_flow
from flownb.files.stored_values import names_of_gone_jobs
from flownb.wire.store import Store


class FilesOfFlow:
    """Looks where the files are while the flow is there, and removes them when its jobs are gone.

    Jobs that another flow of the name shares are not gone: their files stay.
    """

    def __init__(self, store: Store, flow: str, record: Mapping[str, str], *, also_given: bool) -> None:
        self._store = store
        folder = folder_of_flow(store, flow, record)
        self._folder = folder if folder and (folder.is_own or also_given) and folder.sizes() else None
        self._is_shared = "spec" in record
        self._queues = store.flows.read_queues(flow) if self._folder else []

    def remove(self) -> None:
        """Remove the files of jobs that are gone."""
        if self._folder is None:
            return
        if self._is_shared:
            self._folder.remove(names_of_gone_jobs(self._store, self._folder, self._queues))
        else:
            self._folder.remove(self._folder.sizes())
