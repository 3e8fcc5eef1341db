"""A flow stored piece by piece, whose jobs run at once; only their parents wait for the last piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flownb.adding.add_call import AddCall
from flownb.adding.chunks import calls_of
from flownb.adding.declared_children import groups_of, pieces_of
from flownb.adding.planned_job import Plan
from flownb.adding.send import record_of
from flownb.state.flow_state import OwnFlowState
from flownb.state.seal import unseal
from flownb.wire import keys
from flownb.wire.job_rows import FieldRow
from flownb.wire.store import Store


class Stream:
    """One flow on its way to the server. Each piece is a plan: the same parents, then new children of the last."""

    def __init__(self, store: Store, flow: str, name: str, about: Mapping[str, str]) -> None:
        self.store = store
        self.flow = flow
        self.name = name
        self.about = dict(about)
        self.seal = keys.seal(store.prefix, flow)
        # Written by `send`, in the thread that reads the iterator:
        self.children = 0  # stored so far
        self.parents = 0
        self._pieces = 0  # of the last parent's declared children
        self._groups: list[dict[str, Any]] = []  # their summary; one group, as all are alike
        self._declared_key = ""  # where both are stored

    def send(self, plan: Plan, parents: int) -> set[str]:
        """Store a piece's jobs, the first time also the `parents`, which are the first of the plan; return the ids that
        were there.

        Raises `Overtaken`, with nothing of the piece stored, where the name's rows are not those the plan has `seen`.
        """
        above = plan.jobs[parents - 1]
        first = 0 if not self._pieces else parents
        fields = {"name": self.name, "root": plan.root.key, "total": "0", "pieces": "1", **self.about}
        record = record_of(plan, self.name, fields)
        further, existing = self._declared(plan, parents - 1), set[str]()
        pieces = len(further)
        for some in calls_of([job.size for job in plan.jobs[first:]]):
            call = AddCall(plan)
            call.add(range(some.start + first, some.stop + first))
            call.fields += further
            existing.update(
                self.store.jobs.add(call.bases, record=record, seal=self.seal, **call.arguments())[1]
            )
            record, further = replace(record, seen=None), []
        self.parents = parents
        self.children += len(above.children)
        self._pieces += pieces
        return existing

    def _declared(self, plan: Plan, parent: int) -> list[FieldRow]:
        """The children of this piece, behind those of the pieces before."""
        self._declared_key = keys.own(plan.prefix, "children", plan.jobs[parent].key)
        self._groups = self._groups if self._pieces else groups_of(plan, parent)
        pieces = enumerate(pieces_of(plan, parent), self._pieces)
        return [FieldRow(self._declared_key, str(number), piece) for number, piece in pieces]

    def note(self, about: Mapping[str, str], counts: Mapping[str, bytes]) -> None:
        """Say of all pieces so far what is known: fields of the record and of the counts.

        So a reader knows the rows that have come, also where no further piece does.
        """
        group = {**self._groups[0], "count": self.children}
        group.pop("rows", None)  # of the first piece alone
        groups = json.dumps([group], separators=(",", ":"))
        counted = keys.own(self.store.prefix, "counts", self.flow)
        about = {"total": str(self.parents + self.children), **about}
        self.store.flows.write_fields(
            [
                (self._declared_key, "groups", groups),
                *((counted, *field) for field in counts.items()),
                *((self._record, *field) for field in about.items()),
            ]
        )

    def close(self) -> None:
        """Say that these were all pieces; from now on parents wait for their children alone."""
        unseal(self.store, OwnFlowState(self.store, self.flow))
        self.store.flows.write_fields([(self._record, "stored", "1")])

    def cut_short(self, why: str) -> None:
        """Say that no further piece comes, and why: parents wait on, and whoever looks is told."""
        self.store.flows.write_fields([(self._record, "cut", why)])

    @property
    def _record(self) -> str:
        return keys.own(self.store.prefix, "flow", self.flow)
