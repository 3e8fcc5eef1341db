"""Checks of what a flow has spent: its account has all that its jobs have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flownb.diagnosis.findings import CheckContext, Finding
from flownb.errors import ServerRefused
from flownb.state.shape import Declared
from flownb.wire import amounts
from flownb.wire.pauses import amounts_in_words
from flownb.wire.store.limits import in_pieces


def check_accounts(flows: Sequence[str], context: CheckContext) -> Iterator[Finding]:
    """Yield a finding where jobs have spent more than the account says: then no budget holds in time.

    Looked at are flows with brakes, and those of which the account is there. An account may have more: its later runs'
    amounts, and those of jobs that were removed.
    """
    store = context.store
    for some in in_pieces(flows):
        records = [found.record for found in store.flows.read_many(some, ("root", "account", "brakes"))]
        accounts = [record.get("account", flow) for flow, record in zip(some, records, strict=True)]
        spent = store.accounts.read_many(accounts)
        for flow, record, account in zip(some, records, accounts, strict=True):
            if record.keys() >= {"name", "root"} and ("brakes" in record or spent[account]):
                yield from _check_account(flow, record, account, context)


def _check_account(
    flow: str, record: Mapping[str, str], account: str, context: CheckContext
) -> Iterator[Finding]:
    store = context.store
    try:
        jobs = list(Declared(store, record["root"]).jobs())
    except ServerRefused:  # its tree cannot be read, which is a finding of its own
        return
    found: dict[str, int] = {}
    for some in in_pieces(jobs):
        read = store.jobs.read(some, ("name", "fl", "spent"))
        mine = [amounts.of_job(job.spent) for job in read if job and job.flow == flow]
        found = amounts.total([found, *mine])
    kept = store.accounts.read(account)  # last: what is told meanwhile is in both
    missing = {unit: parts - kept.get(unit, 0) for unit, parts in found.items() if parts > kept.get(unit, 0)}
    if missing:
        what = f"its jobs have spent {amounts_in_words(missing)} that its sum of amounts has not"
        advice = "lower its budget by that: resume(budget=...)"
        yield context.finding("spent", flow, what, job=record["name"], advice=advice)
