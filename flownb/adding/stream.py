"""A flow whose jobs come piece by piece and run at once; only what stands above them waits for the last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flownb.adding.chunks import calls_of
from flownb.adding.planned_job import Plan
from flownb.adding.send import AddCall, groups_of, pieces_of
from flownb.state.flow_state import OwnFlowState
from flownb.state.seal import unseal
from flownb.wire import keys
from flownb.wire.job_rows import FieldRow, FlowRecord
from flownb.wire.store import Store


class Stream:
    """One flow on its way to the server. Each piece is a plan: the same parents, then new children of the last."""

    def __init__(self, store: Store, flow: str, name: str, about: Mapping[str, str]) -> None:
        self.store = store
        self.flow = flow
        self.name = name
        self.about = dict(about)
        self.seal = keys.seal(store.prefix, flow)
        self.children = 0
        self.parents = 0
        self._pieces = 0
        self._groups: list[dict[str, Any]] = []
        self._place = ""

    def send(self, made: Plan, parents: int) -> None:
        """Store a piece's jobs; the first time also the `parents` that stand before them in the plan."""
        above = made.jobs[parents - 1]
        first = 0 if not self._pieces else parents
        fields = {"name": self.name, "root": made.root.key, "total": "0", **self.about}
        record = FlowRecord(id=self.flow, name=self.name, fields=fields)
        further = self._declared(made, parents - 1)
        for some in calls_of([job.size for job in made.jobs[first:]]):
            call = AddCall(made)
            call.take(range(some.start + first, some.stop + first))
            call.fields += further
            self.store.jobs.add(call.bases, record=record, seal=self.seal, **call.arguments())
            further = []
        self.parents = parents
        self.children += len(above.children)

    def _declared(self, made: Plan, parent: int) -> list[FieldRow]:
        """The children of this piece, behind those of the pieces before."""
        self._place = keys.own(made.prefix, "children", made.jobs[parent].key)
        self._groups = self._groups or groups_of(made, parent)
        pieces = list(enumerate(pieces_of(made, parent), self._pieces))
        self._pieces += len(pieces)
        return [FieldRow(self._place, str(number), piece) for number, piece in pieces]

    def close(self, about: Mapping[str, str]) -> None:
        """Say that this was all, with what is known of the flow only now: its parents wait for nothing else."""
        record = keys.own(self.store.prefix, "flow", self.flow)
        group = {**self._groups[0], "count": self.children}
        groups = json.dumps([group], separators=(",", ":"))
        fields = {"total": str(self.parents + self.children), **about}
        self.store.flows.write_fields(
            [(self._place, "groups", groups), *((record, *field) for field in fields.items())]
        )
        unseal(self.store, OwnFlowState(self.store, self.flow))
        self.store.flows.write_fields([(record, "stored", "1")])
