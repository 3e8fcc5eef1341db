"""What jobs returned that were removed since, by `clean` or by hand, as their parents keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from flownb.errors import FlowError
from flownb.files.rows_in_files import FindFolder, is_in_file, text_in_file
from flownb.wire.store import Store


class KeptValues:
    """The values of children that are gone; `children` are the keys of each parent's."""

    def __init__(
        self, store: Store, children: Mapping[str, Sequence[str]], find_folder: FindFolder = lambda: None
    ) -> None:
        self._store = store
        self._find_folder = find_folder
        self._children = children
        self._parent_of: dict[str, str] = {}  # made when the first job is missing

    def read(self, jobs: Sequence[str]) -> dict[str, str]:
        """Return the JSON texts of those of these jobs whose value is kept, by key."""
        if jobs and not self._parent_of:
            self._parent_of = {key: parent for parent, keys in self._children.items() for key in keys}
        below: dict[str, list[str]] = {}
        for job in jobs:
            if job in self._parent_of:
                below.setdefault(self._parent_of[job], []).append(job)
        found: dict[str, str] = {}
        for parent, children in below.items():
            found |= self._store.children.read_kept_values(parent, children)
        return {key: whole for key, text in found.items() if (whole := self._whole(text)) is not None}

    def _whole(self, text: str) -> str | None:
        """The value itself where a file holds it; None where that went with its job."""
        if not is_in_file(text):
            return text
        with suppress(FlowError):
            return text_in_file(text, self._find_folder())
        return None
