"""A finding of a checkup: one thing that is wrong, in words, with what repairs it or what a person can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flownb.diagnosis import reason_words
from flownb.errors import ServerRefused
from flownb.wire import keys
from flownb.wire.records import CANCELLED, WAITING_CHILDREN
from flownb.wire.store import Store
from flownb.wire.store.job_facts import JobFacts

_NAMED_JOBS = 3  # in a line; of further ones the number is told

ADD_AGAIN = "add the flow again, with if_exists='rerun' where its jobs have ids of yours"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: str
    key: str  #: of the job, of the queue, or the flow's id
    job: str  #: in words
    what: str
    remedy: str = ""  #: what a repair does; empty: a person has to decide
    advice: str = ""  #: what a person does
    others: tuple[str, ...] = ()  #: children, or the parent, that the repair is about

    @property
    def same(self) -> tuple[str, str]:
        """What two findings of the same thing have in common."""
        return self.rule, self.key


@dataclass
class CheckContext:
    """What checks need beside the job: the store, names for messages, and which flows are cancelled."""

    store: Store
    _is_cancelled: dict[str, bool] = field(default_factory=dict)  # by flow, as it was read first

    def finding(
        self,
        rule: str,
        key: str,
        what: str,
        *,
        job: str | None = None,
        remedy: str = "",
        advice: str = "",
        others: tuple[str, ...] = (),
    ) -> Finding:
        """Put a finding into printable words; `job` is what a flow is called, for others their key is."""
        return Finding(
            rule=rule,
            key=key,
            job=reason_words.plain(job or self.name_of(key)),
            what=reason_words.plain(what),
            remedy=remedy,
            advice=advice,
            others=others,
        )

    def name_of(self, key: str) -> str:
        """Return ``queue:id`` of a job, or a queue's name."""
        return keys.short(key, self.store.prefix)

    def names_of(self, jobs: Sequence[str]) -> str:
        names = ", ".join(reason_words.plain(self.name_of(job)) for job in jobs[:_NAMED_JOBS])
        more = f" and {len(jobs) - _NAMED_JOBS:,} more" if len(jobs) > _NAMED_JOBS else ""
        return names + more

    def call_for(self, job: str) -> str:
        """Return the call that gives a person the handle of a job."""
        return f"Queue({self.name_of(keys.base_of(job))!r}).get_job({keys.id_of(job)!r})"

    def is_cancelled(self, job: JobFacts) -> bool:
        """Say whether a job is of a cancelled flow: those go one after the other, as do those being removed."""
        if job.flow is None:
            return False
        if job.flow not in self._is_cancelled:
            try:
                self._is_cancelled[job.flow] = self.store.flows.read_end_by_job(job.flow) == CANCELLED
            except ServerRefused:  # its record is no record, which is a finding of its own
                self._is_cancelled[job.flow] = False
        return self._is_cancelled[job.flow]

    def waits_for_children(self, job: JobFacts) -> bool:
        return job.only_list == WAITING_CHILDREN and not self.is_cancelled(job)

    def forget_flows(self) -> None:
        """Read anew, from now on, which flows are cancelled."""
        self._is_cancelled.clear()
