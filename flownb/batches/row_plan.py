"""The plan of a batch: the ids of its flow and rows, and how much of it is on the server already."""

from __future__ import annotations

import json
from functools import cached_property
from itertools import chain
from typing import Any

from flownb.batches.batch_request import BatchRequest, Edited
from flownb.batches.braking import used_up_before
from flownb.batches.code_of_rows import steps_of_rows
from flownb.batches.earlier_rows import EarlierRows, RowLocations
from flownb.batches.row_ids import fingerprint
from flownb.batches.rows import Rows
from flownb.batches.steps_done import find_rows_before, read_steps_done
from flownb.state.flow_state import OwnFlowState
from flownb.wire.pauses import of_pilot
from flownb.wire.records import CANCELLED, COMPLETED, FAILED

NEW, RUNNING, WHOLE = "new", "running", "whole"  #: how much of a flow is there


class RowPlan:
    """A batch before it is stored: under which ids, and beside which rows that are there already.

    Rows that come piece by piece are a plan for each piece: of one `flow`, from row `start` on, of `expected` rows.
    """

    def __init__(
        self,
        request: BatchRequest,
        rows: Rows,
        *,
        flow: str = "",
        start: int = 0,
        expected: int = 0,
        many: RowLocations | None = None,
    ) -> None:
        self.request = request
        self.rows = rows
        self.ids = list(rows.ids)  #: those of failed rows change as they get new jobs
        self.flow = flow  #: its id, if `choose_ids` does not find one
        self._is_piece = expected > 0
        self.start = start  #: the position of the first row
        self.removed = 0  #: how many rows were there, and have lost their jobs
        self.pilot = self._pilot()  #: how many rows run before the batch waits for a word
        #: why the flow is paused from the start on
        self.paused = used_up_before(request) or (of_pilot(self.pilot) if self.pilot else None)
        self.rows_per_job, self.slice_ms = request.size_of_jobs(max(len(rows), expected))
        self.earlier = EarlierRows(
            request.store, request.name, request.base, self.ids, lambda: request.folder, many
        )

    def _pilot(self) -> int | None:
        """Once a name, and only where rows are left behind it."""
        pilot = self.request.brakes.pilot
        has_had_one = bool(self.request.earlier.get("pilot"))
        return None if pilot is None or has_had_one or pilot >= len(self.rows) else pilot

    @property
    def shares_jobs(self) -> bool:
        """Do jobs hold several rows, or did they in earlier batches of this name?"""
        job = self.request.job
        return (
            self.rows_per_job > 1
            or bool(self.earlier.many or job.steps or self.steps_done)
            or job.batch_size is not None
        )

    @property
    def seen(self) -> tuple[str, int | None] | None:
        """What the name meant when these rows were looked up, and how many of its jobs of many rows were known."""
        many = self.earlier.many
        # Of rows that come piece by piece the first ones have said whether jobs hold several: others keep to that.
        if not self.request.reuse or (self._is_piece and not self.shares_jobs):
            return None
        return self.request.newest or "", None if many is None else many.noted

    @property
    def renewed(self) -> int:
        """How many rows failed before and run again."""
        if self.ids == self.rows.ids:
            return 0
        rows = zip(self.ids, self.rows.ids, self.earlier.found, strict=True)
        return sum(id != first and found is None for id, first, found in rows)

    def choose_ids(self) -> str:
        """Choose the flow's id and the rows' ids, and say how much of the flow is there. Writes nothing."""
        generation = 0
        while True:
            self.flow = self._flow_of(generation)
            record = OwnFlowState(self.request.store, self.flow).record()
            if record and self.request.store.flows.read(self._flow_of(generation + 1), "root"):
                generation += 1  # that one was made because this one is not what was asked for
            elif record and "ended" not in record:
                if "stored" not in record:
                    self.rows_per_job = json.loads(record["spec"])["rows_per_job"]
                    self.earlier.find()
                    return NEW  # begun by a kernel that died meanwhile
                if not self._lacks_jobs():
                    return RUNNING
                generation += 1
            elif self.request.is_known() and self.earlier.renew_failed():
                generation = 0
            elif not record:
                return NEW
            elif self._lacks_jobs() or self._may_run_again():
                generation += 1
            else:
                return WHOLE

    def _flow_of(self, generation: int) -> str:
        return fingerprint(self.ids, self.request.name, *self._made_of, str(generation))

    @cached_property
    def _made_of(self) -> list[str]:
        """What distinguishes a flow of these rows: the stages, the groups, the index."""
        stages = [f"{stage.queue}/{stage.name}/{stage.version}" for stage in self.request.stages]
        rows = self.rows
        if rows.repeats is not None:
            stages.append(json.dumps(rows.repeats.runs))
        return [*stages, json.dumps([rows.by, rows.groups, rows.group_index, rows.index_spec, rows.labels])]

    def _lacks_jobs(self) -> bool:
        """Were jobs of the flow removed, by `clean` or by hand? A row is missing, or what stands above the rows."""
        above = [parent for parent, _ in OwnFlowState(self.request.store, self.flow).shape.branches()]
        self.removed = self.earlier.count_missing()
        return bool(self.removed or self.request.store.jobs.read_missing(above))

    def _may_run_again(self) -> bool:
        """Did a job above the rows fail, or was it cancelled? Its function may have been repaired since."""
        ended, cause = OwnFlowState(self.request.store, self.flow).end()
        if ended == CANCELLED:
            return True
        if ended != FAILED or not cause:
            return False
        found = self.request.store.jobs.read([cause], ("name", "why"))[0]
        return found is None or found.why != "unrecoverable"

    def oldest_codes(self) -> dict[str, str | None]:
        """The codes that the oldest rows ran, by task: those of rows that are kept, if any."""
        codes = dict(self.request.job.codes)
        kept = len(codes) if len(self.earlier) else max(map(len, self.steps_done.values()), default=0)
        kept_names = list(codes)[:kept]
        edited = self.edited() if kept else []
        return codes | {one.name: one.before for one in edited if one.name in kept_names}

    def edited(self) -> list[Edited]:
        """Return which tasks of the rows were edited since rows that are kept ran by them, in their order."""
        found: dict[str, Edited] = {}
        for steps in chain.from_iterable(map(steps_of_rows, self._records_of_kept())):
            found = {one.name: one for one in self.request.edited(steps)} | found
        return [found[name] for name in self.request.job.codes if name in found]

    def _records_of_kept(self) -> list[dict[str, str]]:
        """Return what the records of flows say of the rows that are kept."""
        newest = self.request.newest or self.flow  # which has the codes of those that were removed
        flows = list(dict.fromkeys([self.flow, newest, *self.flows_kept]))
        facts = self.request.store.flows.read_many(flows, ("spec", "codes"))
        records = {flow: one.record for flow, one in zip(flows, facts, strict=True)}
        return [records[self.flow], *(records[flow] or records[newest] for flow in self.flows_kept)]

    @cached_property
    def flows_kept(self) -> dict[str, None]:
        """The flows in whose jobs rows or steps ran that are kept; asked once the ids are chosen."""
        again = self.steps_done.keys() & self.earlier.failed.keys()
        there = [at for at, found in enumerate(self.earlier.found) if found and found[1].state != FAILED]
        flows = self.earlier.flows_of([*there, *again])
        return flows | (
            self.before.flows_of(self.steps_done.keys() - again) if self.before is not None else {}
        )

    def steps_before(self) -> list[int]:
        """Return how many rows had done each step before, then how many had failed at each, of those not run anew."""
        names = [step.name for step in self.request.job.steps]
        counts = [0] * (2 * len(names))
        through = self.earlier.count(COMPLETED)
        for at in range(len(names)):
            counts[at] = through + sum(len(done) > at for done in self.steps_done.values())
        for done in self.earlier.steps_of_failed():
            counts[len(names) + min(done, len(names) - 1)] += 1
            for at in range(done):
                counts[at] += 1
        return counts

    @cached_property
    def steps_done(self) -> dict[int, list[Any]]:
        """What steps have returned of rows that are to run, by position; asked once the ids are chosen.

        A batch of one task has some where the newest one of the name had further steps behind it.
        """
        return read_steps_done(self.request, self.earlier, self.before)

    @cached_property
    def before(self) -> EarlierRows | None:
        """The rows as they stand in the newest batch of the name, where that had other steps, some of them the same."""
        return find_rows_before(self.request, self.rows, self.earlier.many)

    def find_again(self) -> None:
        """Find anew which rows are there; those that have failed meanwhile run again."""
        self.earlier.find_newest()
        if self.before is not None:
            self.before.find_newest()

    @property
    def rows_through(self) -> set[int]:
        """Which rows that have no job yet are through all of their steps."""
        steps = len(self.request.job.places)
        return {at for at, done in self.steps_done.items() if len(done) >= steps}
