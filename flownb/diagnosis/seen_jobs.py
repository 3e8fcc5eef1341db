"""What was seen of flows' jobs in their queues, beside what the flows say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flownb.errors import ServerRefused
from flownb.wire import keys
from flownb.wire.many_rows import count_in, jobs_counted
from flownb.wire.records import WAITING, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.flows import FlowFacts
from flownb.wire.store.job_facts import ENDS, JobFacts
from flownb.wire.store.limits import in_pieces

_FIELDS = ("root", "created", "stored", "total", "ended", "finished")
_ROOT_FIELDS = ("name", "finishedOn")


class SeenJobs:
    """Counts jobs by flow, as their queues are gone through once. Of a flow it keeps a few numbers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[str, dict[str, int]] = {}  # flow -> ``state@queue key`` -> jobs
        self._fields: dict[tuple[str, str], str] = {}  # state, queue -> how counts name them
        self.with_files: set[str] = set()  #: flows of jobs whose values refer to files

    def add(self, jobs: Sequence[JobFacts]) -> None:
        """Count jobs for their flow, and shared ones for the other flows that have them."""
        for job in jobs:
            if job.flow is not None:
                self._count(job.flow, job.state, job.key)
        shared = [job for job in jobs if job.shared]
        for job, run in zip(
            shared, self._store.job_facts.read_last_runs([job.key for job in shared]), strict=True
        ):
            for flow in run.flows - {job.flow}:
                self._count(flow, job.state if job.ended else WAITING, job.key)

    def _count(self, flow: str, state: str, job: str) -> None:
        at = state, keys.base_of(job)
        field = self._fields.get(at)
        if field is None:
            field = self._fields[at] = "@".join(at)
        counts = self._counts.setdefault(flow, {})
        counts[field] = counts.get(field, 0) + 1

    def note_files(self, job: JobFacts) -> None:
        """Note that a job's value refers to files."""
        if job.flow is not None:
            self.with_files.add(job.flow)

    def doubtful(self, flows: Sequence[str]) -> Iterator[str]:
        """Yield the flows whose record, counts and root do not agree with what was seen."""
        for some in in_pieces(flows):
            facts = self._store.flows.read_many(some, _FIELDS)
            roots = [found.record.get("root", "") for found in facts]
            sound = [root for root in roots if keys.is_text(root) and root.count(":") > 1]
            if not self._are_legible(sound):
                yield from some
                continue
            records = dict(zip(sound, self._store.jobs.read(sound, _ROOT_FIELDS), strict=True))
            for flow, found, root in zip(some, facts, roots, strict=True):
                if not self._agrees(flow, found, records.get(root)):
                    yield flow

    def _are_legible(self, roots: Sequence[str]) -> bool:
        """Say whether all that is stored of the trees below these roots can be read."""
        level, seen = list(roots), set(roots)
        try:
            while level:
                below: dict[str, None] = {}
                for some in in_pieces(level):
                    for is_deep, pieces in self._store.declared.read_trees(some):
                        for piece in pieces:
                            below |= dict.fromkeys(piece.keys if is_deep else ())
                level = [job for job in below if job not in seen]
                seen.update(level)
        except ServerRefused:
            return False
        return True

    def _agrees(self, flow: str, found: FlowFacts, root: JobRecord | None) -> bool:
        record, counts = found.record, found.counts
        if root is None or not record.keys() >= {"name", "created"} or not counts:
            return False
        if record.get("ended") in ENDS and record.get("finished") != str(root.finished_on):
            return False
        if "stored" not in record:  # it is being added: its counts are not of all its jobs
            return False
        seen = self._counts.get(flow, {})
        said = {field: n for field, n in jobs_counted(counts).items() if n}
        return said == seen and sum(seen.values()) >= count_in(record.get("total", "0"))
