"""Goes through queues and flows and collects what is wrong: jobs that would get lost, run twice or wait for ever.

All is read in pieces while workers run, so what looks broken at first is only suspected: it is a finding when a
second look, a while later and at that job alone, finds the same. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from flownb.diagnosis.account_checks import check_accounts
from flownb.diagnosis.file_checks import ORPHANED, are_there, check_files
from flownb.diagnosis.findings import CheckContext, Finding
from flownb.diagnosis.flow_checks import check_flow, children_illegible
from flownb.diagnosis.job_checks import check_job
from flownb.diagnosis.parent_checks import another_value_held, check_children, check_parent_link, with_values
from flownb.diagnosis.queue_checks import check_queue
from flownb.diagnosis.seen_jobs import SeenJobs
from flownb.errors import ServerRefused
from flownb.files.references import MARK
from flownb.state.shape import Declared
from flownb.wire import keys
from flownb.wire.records import WAITING_CHILDREN
from flownb.wire.store import Store
from flownb.wire.store.job_facts import JobFacts
from flownb.wire.store.limits import IDS_A_READ, in_pieces
from flownb.wire.store.parent_links import ParentLink

_PAUSE_SECONDS = 1.0  # before the second look: removals take that long, and retries of many jobs


class Checkup:
    """Looks at queues, at those that their jobs' parents and children are in, and at flows.

    Each job is read once, where its queue lists it. Flows are then looked at one by one only where what was seen of
    their jobs is not what they say themselves.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._context = CheckContext(store)
        self._lists: dict[str, dict[str, tuple[str, ...]]] = {}  # queue -> jobs not ended -> their lists
        self._unvisited: list[str] = []  # queues whose jobs are still to be looked at
        self._visited: set[str] = set()  # queues whose jobs were looked at
        self._known: set[str] = set()  # queues that were read, or cannot be
        self._unsound: set[str] = set()  # jobs listed as not ended of which that may be wrong
        self._waiting: list[JobFacts] = []  # parents whose children are still to be looked at
        self._seen = SeenJobs(store)
        self._found: list[Finding] = []

    def findings(self, bases: Iterable[str], flows: Sequence[str]) -> list[Finding]:
        """Return what is wrong."""
        for base in bases:
            self._read_queue(base)
        jobs = dict.fromkeys(self._suspects_in_queues())
        doubtful = list(self._seen.doubtful(flows))
        jobs |= dict.fromkeys(job for flow in doubtful for job in self._unlisted_in(flow))
        jobs |= dict.fromkeys(self._suspects_in_queues())  # in queues that those jobs have led to
        suspected = {finding.same: flow for flow in doubtful for finding in check_flow(flow, self._context)}
        if jobs or suspected:
            time.sleep(_PAUSE_SECONDS)
            self._context.forget_flows()
        for job in filter(self._is_legible, jobs):
            self._found += self._check_stable(job)
        for flow in dict.fromkeys(suspected.values()):
            self._found += [found for found in check_flow(flow, self._context) if found.same in suspected]
        self._found += check_files(flows, self._seen.with_files, self._context)
        self._found += check_accounts(flows, self._context)
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

    def _suspects_in_queues(self) -> Iterator[str]:
        """Yield the keys of jobs with which something may be wrong; more queues are found on the way."""
        while self._unvisited or self._waiting:
            while self._unvisited:
                base = self._unvisited.pop(0)
                yield from self._suspects_in(base)
                self._visited.add(base)
            parents, self._waiting = self._waiting, []
            yield from self._suspects_below(parents)

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
        open_jobs = list(self._lists[base])
        for page in chain(in_pieces(open_jobs, IDS_A_READ), self.store.job_facts.read_ended(base)):
            found = list(self.store.job_facts.read(page, self._lists_of))
            self._seen.add(found)
            yield from self._suspects_among(found)

    def _suspects_among(self, found: Sequence[JobFacts]) -> Iterator[str]:
        links = self._links_of(found)
        for job in found:
            if any(check_job(job, self._context)):
                self._unsound.add(job.key)
                yield job.key
            elif job.only_list == WAITING_CHILDREN:
                self._waiting.append(job)
        yield from (job.key for job, link in links if any(check_parent_link(job, link, self._context)))
        compared = self.store.parent_links.compare_values(with_values(found, links), MARK)
        for job, _, values in compared:
            if values.marked:
                self._seen.note_files(job)
            if values.differs:
                yield job.key

    def _links_of(self, jobs: Sequence[JobFacts]) -> list[tuple[JobFacts, ParentLink]]:
        """Return each job with each of its parents' links; the parents' queues are looked at too."""
        parents = self.store.parent_links.read_parents(jobs)
        pairs = [(job, parent) for job, above in zip(jobs, parents, strict=True) for parent in above]
        links = self.store.parent_links.read([(job.key, parent) for job, parent in pairs])
        found = [(job, link) for (job, _), link in zip(pairs, links, strict=True)]
        for _, parent in pairs:
            self._read_queue(keys.base_of(parent))
        return found

    def _suspects_below(self, parents: Sequence[JobFacts]) -> Iterator[str]:
        """Look at children that parents wait for: those apart that their queue was seen to list as not ended."""
        for parent, children, is_sealed in self.store.parent_links.read_pending(parents):
            doubtful = [child for child in children if not self._was_seen_open(child)]
            if not (doubtful or is_sealed) or self._context.is_cancelled(parent):
                continue
            awaited = self.store.parent_links.read_awaited(parent.key, self._lists_of, doubtful)
            yield from awaited.astray
            if is_sealed or awaited.ended:
                yield parent.key

    def _was_seen_open(self, job: str) -> bool:
        base = keys.base_of(job)
        return base in self._visited and job in self._lists[base] and job not in self._unsound

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
        held = [(facts, link) for link in links]
        for _, compared, values in self.store.parent_links.compare_values(with_values([], held), MARK):
            if compared is not None and values.differs:
                found.append(another_value_held(facts, compared, self._context))
        return found
