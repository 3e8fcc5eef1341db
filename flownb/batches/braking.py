"""What the brakes of a stored batch have done: whether it is held, what that says, and how it goes on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flownb.batches.batch_request import BatchRequest
from flownb.batches.brakes import Brakes
from flownb.batches.row_steps import begun_in, brake_fields
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import FlowError, FlowPaused, FlowStuck, printable
from flownb.wire import keys
from flownb.wire.amounts import Amounts, in_units
from flownb.wire.pauses import BUDGET, MAX_FAILURES, PILOT, Pause, amounts_in_words, in_words, of_budget
from flownb.wire.records import ACTIVE, COMPLETED, FAILED
from flownb.wire.store.flows import UsedUp


def read_held(stored: StoredBatch) -> Pause | None:
    """Return the brake that holds a batch, once none of its rows runs any more; of a pilot once all have ended."""
    counts = stored.store.flows.read_counts(stored.id)
    pause = counts.pause
    if pause is None or counts.by_stage.get(stored.row_queue, {}).get(ACTIVE):
        return None
    if pause.brake == PILOT and not _is_over(stored):
        return None
    return pause


def _is_over(stored: StoredBatch) -> bool:
    pilot = stored.store.flows.read_pilot(stored.id)
    jobs = stored.store.jobs.read(pilot, ("name", "finishedOn"))
    return all(job is None or job.state in (COMPLETED, FAILED) for job in jobs)


def raise_if_held(stored: StoredBatch) -> None:
    """Raise `FlowPaused` where a brake holds a batch that has not ended."""
    if stored.flow_state.end().state is None and (pause := read_held(stored)):
        raise flow_paused(stored, pause)


def raise_if_cut_short(stored: StoredBatch) -> None:
    """Raise `FlowStuck` where reading the rows has raised, once those before have ended."""
    if stored.is_whole() or stored.cut is None:
        return
    states = stored.row_states()
    if not states.keys() <= {COMPLETED, FAILED}:
        return
    rows = sum(states.values())
    raise FlowStuck(
        f"batch {stored.name!r} cannot end: reading its rows raised {printable(stored.cut)}, and it has only the "
        f"{rows:,} row{'' if rows == 1 else 's'} before; the same fan_out again goes on from there, "
        "results(partial=True) gives what is there"
    )


def flow_paused(stored: StoredBatch, pause: Pause) -> FlowPaused:
    """Return the error that says why, what was spent, and which call goes on."""
    spent = stored.spent()
    pause = _as_of_now(pause, spent)
    reason = f"{pause.words} has ended" if pause.brake == PILOT else pause.words
    has_spent = f"; spent: {amounts_in_words(spent)}" if spent and pause.brake != BUDGET else ""
    call = f"batch.{pause.resume_call}"
    return FlowPaused(
        f"batch {stored.name!r} is paused: {reason}{has_spent}; {call} goes on, "
        "results(partial=True) gives what is there",
        reason=reason,
        amounts=in_units(spent),
        call=call,
    )


def _as_of_now(pause: Pause, spent: Amounts) -> Pause:
    """The rows that ran on have spent more."""
    return replace(pause, spent=spent.get(pause.unit, pause.spent)) if pause.brake == BUDGET else pause


def warn_of_units(stored: StoredBatch) -> None:
    """Warn of a budget in a unit that no row of a pilot has told: it would never hold anything."""
    spent = stored.spent()
    brakes = stored.store.flows.read_brakes(stored.id)
    budgets = [name.partition(":")[2] for name in brakes if name.startswith("budget:")]
    for unit in sorted(set(budgets) - spent.keys()):
        warnings.warn(
            f"batch {stored.name!r} has a budget in {unit}, and no row of its pilot has called "
            f"fn.spend({unit}=...): it will not hold",
            UserWarning,
            stacklevel=4,
        )


# ---- other brakes ---------------------------------------------------------------------------------------


def resume(stored: StoredBatch, budget: Any, max_failures: Any) -> None:
    """Let a batch go on, whatever has paused it, with other brakes where some are given.

    Raises `FlowError` where what was spent reaches a budget.
    """
    brakes = Brakes.read(budget, max_failures, where="resume")
    used_up = _set(stored, _bases(stored), brakes, lift=True)
    if used_up is not None:
        raise FlowError(
            f"batch {stored.name!r} has spent {in_words(used_up.spent)} {used_up.unit}, and its budget is "
            f"{in_words(used_up.budget)} {used_up.unit}: give a larger one, as in "
            f"batch.{Pause(brake=BUDGET, unit=used_up.unit, spent=used_up.spent).resume_call}"
        )


def begin_run(stored: StoredBatch) -> None:
    """Rows that failed run again: those that end from now on are another run's, and count anew."""
    if "brakes" in stored.record_now():
        stored.store.flows.set_brakes(_bases(stored), stored.id, budget={}, anew=True)


def _set(stored: StoredBatch, bases: Sequence[str], brakes: Brakes, *, lift: bool) -> UsedUp | None:
    rows = keys.base(stored.store.prefix, stored.row_queue), str(stored.spec["task"])
    return stored.store.flows.set_brakes(
        bases,
        stored.id,
        budget=brakes.budget,
        most=brakes.most,
        percent=brakes.percent,
        rows=rows,
        more_rows=brake_fields(stored.store.prefix, begun_in(stored.spec)),
        lift=lift,
    )


def _bases(stored: StoredBatch) -> list[str]:
    return stored.store.flows.read_queues(stored.id) or [keys.base_of(stored.root)]


def join(request: BatchRequest, flow: str) -> None:
    """A call for a batch that is there: without `pilot` it goes on after one, and other brakes hold from now on."""
    stored = StoredBatch.own_batch(request.store, flow)
    brakes, counts = request.brakes, request.store.flows.read_counts(flow)
    pause, held_by = counts.pause, counts.pause.brake if counts.pause else None
    is_changed = not brakes.fields().items() <= request.store.flows.read_brakes(flow).items()
    goes_on = _goes_on(held_by, brakes, is_changed=is_changed)
    used_up = None
    if goes_on or is_changed:
        used_up = _set(stored, _bases(stored), brakes, lift=goes_on)
    if used_up is not None:
        unit, spent, budget = used_up
        _tell_stays_paused(stored, Pause(brake=BUDGET, unit=unit, spent=spent, budget=budget))
    elif counts.paused and not goes_on:
        _tell_stays_paused(stored, pause, counts.paused_why)
    elif goes_on and pause is not None:
        print(
            f"batch {stored.name!r} goes on after {pause.words}"
            if held_by == PILOT
            else f"batch {stored.name!r} goes on"
        )


def _goes_on(held_by: str | None, brakes: Brakes, *, is_changed: bool) -> bool:
    """Does a call with these brakes let a batch go on that is held by this one? The same call again changes nothing."""
    if held_by == PILOT:
        return brakes.pilot is None
    if held_by == BUDGET:
        return is_changed and bool(brakes.budget)
    return held_by == MAX_FAILURES and is_changed and (brakes.most or brakes.percent) is not None


def _tell_stays_paused(stored: StoredBatch, pause: Pause | None, why: str = "") -> None:
    """Say what holds a batch that was asked for again, and which call goes on."""
    pause = pause and _as_of_now(pause, stored.spent())
    words, call = (pause.words, pause.resume_call) if pause else (why or "by hand", "resume()")
    print(f"batch {stored.name!r} stays paused: {words}; batch.{call} goes on")


def used_up_before(request: BatchRequest) -> str | None:
    """Return why a new run of a name is paused from the start on: earlier ones have spent its budget."""
    account = request.earlier.get("account")
    if not request.brakes.budget or account is None:
        return None
    spent = request.store.accounts.read(account)
    for unit, budget in request.brakes.budget.items():
        if spent.get(unit, 0) >= budget:
            return of_budget(unit, spent[unit], budget)
    return None
