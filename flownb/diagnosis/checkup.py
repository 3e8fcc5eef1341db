"""Goes through queues and flows and collects what is wrong: jobs that would get lost, run twice or wait for ever.

All is read in pieces while workers run, so what looks broken at first is only suspected: it is a finding when a
second look, a while later and at that job alone, finds the same. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from flownb.diagnosis.file_checks import ORPHANED, are_there, check_files
from flownb.diagnosis.findings import CheckContext, Finding
from flownb.diagnosis.flow_checks import check_flow, children_illegible
from flownb.diagnosis.job_checks import check_job
from flownb.diagnosis.parent_checks import another_value_held, check_children, check_parent_link, with_values
from flownb.diagnosis.queue_checks import check_queue
from flownb.errors import ServerRefused
from flownb.state.shape import Declared
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.job_facts import JobFacts
from flownb.wire.store.parent_links import ParentLink

_PAUSE_SECONDS = 1.0  # before the second look: removals take that long, and retries of many jobs


class Checkup:
    """Looks at queues, at those that their jobs' parents and children are in, and at flows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._context = CheckContext(store)
        self._lists: dict[str, dict[str, list[str]]] = {}  # queue -> jobs that have not ended -> their lists
        self._unvisited: list[str] = []  # queues whose jobs are still to be looked at
        self._known: set[str] = set()  # queues that were read, or cannot be
        self._found: list[Finding] = []

    def findings(self, bases: Iterable[str], flows: Sequence[str]) -> list[Finding]:
        """Return what is wrong."""
        for base in bases:
            self._read_queue(base)
        jobs = self._suspected_jobs(flows)
        suspected = {finding.same: flow for flow in flows for finding in check_flow(flow, self._context)}
        if jobs or suspected:
            time.sleep(_PAUSE_SECONDS)
            self._context.forget_flows()
        for job in filter(self._is_legible, jobs):
            self._found += self._check_stable(job)
        for flow in dict.fromkeys(suspected.values()):
            self._found += [found for found in check_flow(flow, self._context) if found.same in suspected]
        self._found += check_files(flows, self._context)
        return self._found

    def check_again(self, finding: Finding) -> Iterable[Finding]:
        """Check once more what a finding is about."""
        if finding.rule == "check":
            return check_queue(finding.key, self._context)
        if finding.rule == ORPHANED:
            return [finding] if are_there(self.store, finding) else []
        if finding.rule in ("over", "counts"):
            return check_flow(finding.key, self._context)
        return self._check_stable(finding.key)

    # ---- the first look: at whole queues, for suspects ---------------------------------------------------------

    def _suspected_jobs(self, flows: Sequence[str]) -> list[str]:
        """Return the keys of jobs with which something may be wrong, each once."""
        jobs = dict.fromkeys(job for flow in flows for job in self._unlisted_in(flow))
        while self._unvisited:  # more queues are found on the way
            jobs |= dict.fromkeys(self._suspects_in(self._unvisited.pop(0)))
        return list(jobs)

    def _read_queue(self, base: str) -> None:
        """Read where a queue's jobs are listed, once; what is wrong with the queue itself is a finding at once."""
        if base in self._known or not self._is_legible(keys.part(base, "id")):
            return
        self._known.add(base)
        mistyped = self.store.queue_facts.read_mistyped(base)
        self._found += check_queue(base, self._context, mistyped)
        if not mistyped:
            self._lists[base] = self.store.job_facts.read_lists(base)
            self._unvisited.append(base)

    def _lists_of(self, job: str) -> Sequence[str]:
        base = keys.base_of(job)
        self._read_queue(base)
        return self._lists.get(base, {}).get(job, ())

    def _unlisted_in(self, flow: str) -> Iterator[str]:
        """Jobs of a flow that are listed nowhere: no queue leads to them."""
        jobs = [job for job in self._declared_in(flow) if not self._lists_of(job)]
        for job in self.store.job_facts.read(jobs, self._lists_of):
            if job.whole and not job.lists:
                yield job.key

    def _declared_in(self, flow: str) -> list[str]:
        """The jobs of a flow; none of one that cannot be read, which is a finding."""
        if self.store.flows.read_mistyped(flow):
            return []
        root = self.store.flows.read(flow).get("root")
        try:
            return list(Declared(self.store, root).jobs()) if root else []
        except ServerRefused as error:
            self._found.append(children_illegible(flow, error, self._context))
            return []

    def _suspects_in(self, base: str) -> Iterator[str]:
        yield from self._suspects_among(list(self._lists[base]))
        for page in self.store.job_facts.read_ended(base):
            yield from self._suspects_among(page)

    def _suspects_among(self, jobs: Sequence[str]) -> Iterator[str]:
        found = list(self.store.job_facts.read(jobs, self._lists_of))
        links = self._links_of(found)
        for job in found:
            if any(check_job(job, self._context)):
                yield job.key
            elif self._context.waits_for_children(job):
                yield from self._suspects_below(job)
        yield from (job.key for job, link in links if any(check_parent_link(job, link, self._context)))
        yield from (job.key for job, _ in self.store.parent_links.read_differing(with_values(links)))

    def _links_of(self, jobs: Sequence[JobFacts]) -> list[tuple[JobFacts, ParentLink]]:
        """Return each job with each of its parents' links; the parents' queues are looked at too."""
        parents = self.store.parent_links.read_parents(jobs)
        pairs = [(job, parent) for job, above in zip(jobs, parents, strict=True) for parent in above]
        links = self.store.parent_links.read([(job.key, parent) for job, parent in pairs])
        found = [(job, link) for (job, _), link in zip(pairs, links, strict=True)]
        for _, parent in pairs:
            self._read_queue(keys.base_of(parent))
        return found

    def _suspects_below(self, parent: JobFacts) -> Iterator[str]:
        awaited = self.store.parent_links.read_awaited(parent.key, self._lists_of)
        yield from awaited.astray
        if awaited.ended or awaited.sealed:
            yield parent.key

    def _is_legible(self, job: str) -> bool:
        """Say whether a job's key tells its queue: not where its id has a colon, as other programs may have it."""
        return keys.is_under(job, self.store.prefix) and keys.short(job, self.store.prefix).count(":") == 1

    # ---- the second look: at one job, until it does not move ---------------------------------------------------

    def _check_stable(self, job: str) -> list[Finding]:
        stable = self.store.parent_links.read_stable(job)
        if stable is None:
            return []
        facts, links = stable
        found = list(check_job(facts, self._context))
        if not found and self._context.waits_for_children(facts):
            found += check_children(facts, self._context)
        for link in links:
            found += check_parent_link(facts, link, self._context)
        held = with_values((facts, link) for link in links)
        differing = self.store.parent_links.read_differing(held)
        return found + [another_value_held(facts, link, self._context) for _, link in differing]
