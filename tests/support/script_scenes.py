"""Scenes for every script that writes: two flows side by side, and one call that is about both where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flownb.wire.job_rows import DeduplicatedRow, Deduplication, FlowRecord, JobRow
from flownb.wire.lease_records import Death, Lease, OwnRun
from flownb.wire.outcomes import Retention
from flownb.wire.requests import Detachment, Removal, Retry, ScheduledJob
from flownb.wire.store.accounts import SpentByRun
from flownb.wire.store.job_records import Taken
from tests.support.damage import Scene
from tests.support.script_bench import (
    Bench,
    base,
    completed,
    failed,
    key,
    node,
    parent,
    parked,
    put_off,
    retry,
    returned,
)

FLOWS = (("f", "q", "up"), ("g", "r", "high"))  # flow, queue of its leaves, queue of its parents
IN_ONE_QUEUE = (("f", "q", "up"), ("g", "q", "up"))
Call = Callable[[], Any]


def add_tree(bench: Bench, flow: str, queue: str, up: str, **fields: str) -> None:
    """Root <- mid <- ok, bad (both fail it), opt (ignored), late (delayed), rank (prioritized); top <- opt too."""
    root, mid, top = (key(f"{flow}-{name}", up) for name in ("root", "mid", "top"))
    nodes = [
        parent(f"{flow}-root", queue=up),
        parent(f"{flow}-mid", (root, "fpof"), queue=up),
        parent(f"{flow}-top", (root, "cpof"), queue=up),
        node(f"{flow}-ok", (mid, "fpof"), queue=queue),
        node(f"{flow}-bad", (mid, "fpof"), queue=queue),
        node(f"{flow}-opt", (mid, "idof"), (top, "fpof"), queue=queue),
        node(f"{flow}-spare", (mid, "fpof"), queue=queue),
        node(f"{flow}-late", (mid, ""), queue=queue, delay=50),
        node(f"{flow}-rank", (mid, "cpof"), queue=queue, priority=3),
    ]
    record = FlowRecord(id=flow, name=flow, fields={"name": flow, "root": root, **fields}, is_stored=True)
    bench.add(*nodes, flow=flow, record=record)


def both(bench: Bench, where: Any = FLOWS, **fields: str) -> None:
    for flow in where:
        add_tree(bench, *flow, **fields)


def take(bench: Bench, *names: str, where: Any = FLOWS) -> dict[str, Taken]:
    """Start the jobs of these names of both flows; all others stay in line."""
    queues = dict.fromkeys(queue for _, queue, _ in where)
    taken = {one.record.id: one for queue in queues for one in bench.take(queue, want=20)}
    wanted = [f"{flow}-{name}" for flow, _, _ in where for name in names]
    bench.finish(*(returned(one) for id, one in reversed(taken.items()) if id not in wanted))
    return {id: taken[id] for id in wanted}


def keys_of(*names: str, where: Any = FLOWS) -> list[str]:
    return [
        key(f"{flow}-{name}", up if name in ("root", "mid", "top") else queue)
        for flow, queue, up in where
        for name in names
    ]


# ---- finish_and_fetch -----------------------------------------------------------------------------------------


def ends(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "ok", "opt")
    outcomes = [
        f(taken[f"{flow}-{name}"]) for flow in "fg" for name, f in (("ok", completed), ("opt", failed))
    ]
    bench.wait(60)
    return lambda: bench.fetch("q", "r", want=10, outcomes=outcomes)


def failures(bench: Bench) -> Call:
    both(bench, on_failure="cancel", tidy="root")
    taken = take(bench, "bad")
    return lambda: bench.finish(*(failed(one) for one in taken.values()), queues=["q", "r"], want=40)


def other_outcomes(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "ok", "bad", "opt", "spare")
    hold: dict[str, Any] = {"ok": retry, "bad": put_off, "opt": returned, "spare": parked}
    outcomes = [hold[id[2:]](one) for id, one in taken.items()]
    return lambda: bench.finish(*outcomes, queues=["q", "r"], want=40)


def roots_end(bench: Bench) -> Call:
    for flow, queue in (("f", "q"), ("g", "r")):
        record = FlowRecord(
            id=flow, fields={"name": flow, "root": key(f"{flow}-root", queue)}, is_stored=True
        )
        bench.add(node(f"{flow}-root", queue=queue), flow=flow, record=record)
    taken = [bench.take_one("q"), bench.take_one("r")]
    return lambda: bench.finish(*map(completed, taken), queues=["q", "r"])


def kept_by_number(bench: Bench) -> Call:
    for flow, queue in (("f", "q"), ("g", "r")):
        bench.add_plain(f"{flow}-old", f"{flow}-new", queue=queue)
    for one in [bench.take_one("q"), bench.take_one("r")]:
        bench.finish(completed(one))
    keep = Retention(1, 1000, 10)
    taken = [bench.take_one("q"), bench.take_one("r")]
    return lambda: bench.finish(*(completed(one)._replace(retention=keep) for one in taken))


def cancelled_on_the_way(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "ok", "bad")
    for flow, _, up in FLOWS:
        bench.store.flows.cancel(base(up), flow)
    outcomes = [retry(one) if id.endswith("ok") else failed(one) for id, one in taken.items()]
    return lambda: bench.finish(*outcomes, queues=["q", "r"], want=3)


def paused_in_line(bench: Bench) -> Call:
    both(bench)
    for flow, _, up in FLOWS:
        bench.store.flows.pause(base(up), flow)
    return lambda: bench.fetch("q", "r", want=4)


# ---- leases -----------------------------------------------------------------------------------------------------


def leases(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "ok", "bad")
    for id in ("f-bad", "g-bad"):
        bench.lose_lease(taken[id])
    held = [Lease(one.base, id, one.token, one.record.attempts_started) for id, one in taken.items()]
    return lambda: bench.store.leases.extend([base("q"), base("r")], held, lock_ms=20_000)


def given_back(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    taken = take(bench, "ok", "bad", where=IN_ONE_QUEUE)
    for one in taken.values():
        bench.redis.set(f"{one.record.key}:lock", "w:9")
    locks = dict.fromkeys(taken, "w:9")
    return lambda: bench.store.leases.give_back(base("q"), locks, death=Death("begun", alone=True), most=0)


def swept(bench: Bench) -> Call:
    both(bench)
    for one in take(bench, "ok", "bad").values():
        bench.lose_lease(one)
    bench.sweep("q", "r")
    bench.store.flows.cancel(base("up"), "f")
    return lambda: bench.sweep("q", "r", most=0)


# ---- adding, cancelling, pausing -----------------------------------------------------------------------------------


def added(bench: Bench) -> Call:
    add_tree(bench, "g", "r", "high")
    return lambda: add_tree(bench, "f", "q", "up")


def added_under_a_job(bench: Bench) -> Call:
    both(bench)
    one = take(bench, "ok")["f-ok"]
    run = OwnRun(key=one.record.key, token=one.token, attempts_started=one.record.attempts_started)
    children = [node(f"f-new{i}", (one.record.key, "fpof"), queue="up", outside=True) for i in range(2)]
    return lambda: bench.add(*children, own_run=run)


def shared_with_another(bench: Bench) -> Call:
    both(bench)
    bench.finish(*map(failed, take(bench, "opt").values()))
    above = parent("f-sharer", queue="up")
    shared = [node(f"f-{name}", (key("f-sharer", "up"), "fpof"), queue="q") for name in ("ok", "opt")]
    return lambda: bench.add(above, *shared, flow="h")


def cancelled(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.flows.cancel(base("up"), "f")


def jobs_cancelled(bench: Bench) -> Call:
    both(bench)
    for flow, _, up in FLOWS:
        bench.store.flows.cancel(base(up), flow)
    return lambda: bench.store.jobs.cancel(keys_of("ok", "bad", "opt", "late", "rank", "top", "mid"))


def flow_paused(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.flows.pause(base("up"), "f")


def brakes_set(bench: Bench) -> Call:
    both(bench)
    flows = bench.store.flows
    flows.set_brakes([base("q")], "f", budget={"usd": 5}, most="1", rows=(base("q"), "n"))
    flows.pause(base("up"), "f")
    return lambda: flows.set_brakes([base("q")], "f", budget={"usd": 9}, percent="5", lift=True)


def flow_resumed(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    for flow in "fg":
        bench.store.flows.pause(base("up"), flow)
    bench.take("q", want=20)
    return lambda: bench.store.flows.resume([base("q")], "f")


def queue_paused(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.queues.pause(base("q"))


def queue_resumed(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    for flow in "fg":
        bench.store.flows.pause(base("up"), flow)
    bench.take("q", want=20)
    bench.redis.srem("bull:flownb:paused", "f", "g")
    bench.store.queues.pause(base("q"))
    return lambda: bench.store.queues.resume(base("q"))


# ---- after an end ---------------------------------------------------------------------------------------------------


def due_for_removal(bench: Bench) -> Call:
    for flow, queue in (("f", "q"), ("g", "r")):
        fields = {"name": flow, "root": key(f"{flow}-root", queue), "tidy": "root"}
        bench.add(
            node(f"{flow}-root", queue=queue),
            flow=flow,
            record=FlowRecord(id=flow, fields=fields, is_stored=True),
        )
    bench.finish(completed(bench.take_one("q")), completed(bench.take_one("r")))
    bench.wait(3_600_000)
    return bench.store.due_removals.claim_due


def ended_by_others(bench: Bench) -> Call:
    """A shared job that another program's worker has ended: it knows the first parent alone."""
    both(bench)
    for one in take(bench, "opt", "ok").values():
        queue, id, job = one.base, one.record.id, one.record.key
        bench.redis.lrem(f"{queue}:active", 1, id)
        bench.redis.delete(f"{job}:lock")
        bench.redis.zadd(f"{queue}:completed", {id: bench.now})
        bench.redis.hset(job, mapping={"finishedOn": bench.now, "returnvalue": "1", "atm": "1"})
    return lambda: bench.store.shared.notify_parents(keys_of("opt"))


def doomed_in_line(bench: Bench) -> Call:
    """A child let its parent go on (cpof) before another failed it: the parent is in line, and to fail."""
    both(bench)
    taken = take(bench, "ok", "bad", "opt", "spare", "rank")
    bench.finish(*(failed(one) for id, one in taken.items() if id.endswith("rank")))
    bench.finish(*(failed(one) for id, one in taken.items() if id.endswith("bad")))
    return lambda: bench.store.missed_writes.fail_deferred_parents(keys_of("mid"))


def retried(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "ok", "bad", "opt")
    bench.finish(*(completed(one) if id.endswith("ok") else failed(one) for id, one in taken.items()))
    jobs = [Retry(job) for job in keys_of("bad", "opt")]
    return lambda: bench.store.jobs.retry(jobs, token="t")


def cancel_taken_back(bench: Bench) -> Call:
    both(bench)
    bench.store.flows.cancel(base("up"), "f")
    bench.store.jobs.cancel(keys_of("ok", "bad", "mid", "root", where=FLOWS[:1]))
    jobs = [Retry(job) for job in keys_of("ok", "bad", where=FLOWS[:1])]
    return lambda: bench.store.jobs.retry(jobs, token="t", flow="f", base=base("up"))


def removed(bench: Bench) -> Call:
    both(bench)
    bench.finish(*map(failed, take(bench, "bad").values()))
    every = keys_of("root", "mid", "top", "ok", "bad", "opt", "spare", "late", "rank", where=FLOWS[:1])
    return lambda: bench.store.jobs.remove(base("up"), Removal(jobs=every, going=every, flow="f", name="f"))


def shared_stays(bench: Bench) -> Call:
    both(bench)
    opt, mid = keys_of("opt", "mid", where=FLOWS[:1])
    going = keys_of("mid", "ok", "bad", "spare", "late", "rank", where=FLOWS[:1])
    removal = Removal(jobs=going, going=going, staying=[Detachment(opt, [mid])], top=mid)
    return lambda: bench.store.jobs.remove(base("up"), removal)


def updated(field: str) -> Callable[[Bench], Call]:
    def prepare(bench: Bench) -> Call:
        both(bench)
        one = take(bench, "ok")["f-ok"]
        run = OwnRun(key=one.record.key, token=one.token, attempts_started=one.record.attempts_started)
        return lambda: bench.store.jobs.update(base("q"), "f-ok", field, "1", keep=3, own_run=run)

    return prepare


def schedule_goes_on(bench: Bench) -> Call:
    both(bench)
    bench.redis.zadd("bull:q:repeat", {"s": bench.now})
    bench.redis.hset("bull:q:repeat:s", mapping={"name": "tick", "every": "1000", "ic": "1"})
    times = {"at": bench.now, "next": bench.now + 1000}
    job = {"opts": "{}", "priority": 0, "name": "tick", "data": "{}"}
    return lambda: bench.store.schedules.add_next_run(base("q"), "s", **times, **job)


def schedule_replaced(bench: Bench) -> Call:
    both(bench)
    job = ScheduledJob(name="tick", opts="{}")
    call = {"fields": {"name": "tick", "every": "1000"}, "job": job, "own": {"tree": "[]"}}
    bench.store.schedules.upsert(base("q"), "s", before=None, due=bench.now + 500, **call)
    return lambda: bench.store.schedules.upsert(
        base("q"), "s", before=bench.now + 500, due=bench.now + 1000, **call
    )


def schedule_removed(bench: Bench) -> Call:
    schedule_replaced(bench)
    return lambda: bench.store.schedules.remove(base("q"), "s")


def rows_saved(bench: Bench) -> Call:
    both(bench)
    one = take(bench, "opt")["f-opt"]
    run = OwnRun(key=one.record.key, token=one.token, attempts_started=one.record.attempts_started)
    return lambda: bench.store.jobs.save_rows(base("q"), "f-opt", "{}", done=3, failed=1, own_run=run)


def spent_told(bench: Bench) -> Call:
    both(bench)
    taken = take(bench, "opt")
    runs = [
        SpentByRun(base("q"), id, taken[id].record.attempts_started, ["usd", 5, "tokens", 7])
        for id in ("f-opt", "g-opt")
    ]
    return lambda: bench.store.accounts.tell(runs)


def end_written(bench: Bench) -> Call:
    call = roots_end(bench)
    call()
    bench.redis.hdel("bull:flownb:flow:f", "ended", "finished")
    return lambda: bench.store.missed_writes.write_flow_end(key("f-root", "q"))


def code_claimed(bench: Bench) -> Call:
    both(bench)
    bench.store.kernels.claim(base("q"), "one", {"score": "a"}, seen={})
    seen = bench.store.kernels.read(base("q"))
    return lambda: bench.store.kernels.claim(base("q"), "two", {"score": "a"}, seen=seen, gone=["one"])


# ---- as BullMQ's queue and job do it --------------------------------------------------------------------------------


def cleared(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    bench.add_plain("alone")
    ids = [f"{flow}-{name}" for name in ("ok", "bad", "opt") for flow in "fg"]
    return lambda: bench.store.moves.clear(base("q"), "waiting", [*ids, "alone"])


def promoted(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    return lambda: bench.store.moves.promote(base("q"), ["f-late", "g-late"])


def put_off_by_hand(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.moves.change_delay(base("q"), "f-late", 500)


def made_urgent(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.moves.change_priority(base("q"), "f-ok", 2)


def one_cancelled(bench: Bench) -> Call:
    both(bench)
    return lambda: bench.store.moves.cancel_job(key("f-ok"))


def left_by_a_child(bench: Bench) -> Call:
    both(bench)
    (job,), (mid,) = keys_of("ok", where=FLOWS[:1]), keys_of("mid", where=FLOWS[:1])
    return lambda: bench.store.moves.remove_child_dependency(job, mid)


def added_once(bench: Bench) -> Call:
    both(bench)
    jobs = [
        DeduplicatedRow(JobRow(1, id, "n", "{}", 1, False), Deduplication(f"d-{id[0]}", keep_last=True))
        for id in ("a1", "a2", "b1")
    ]
    return lambda: bench.store.jobs.add_deduplicated(base("q"), jobs, opts=["{}"])


# ---- repair -----------------------------------------------------------------------------------------------------------


def children_repaired(bench: Bench) -> Call:
    both(bench)
    bench.finish(*map(completed, take(bench, "ok").values()))
    for mid, ok, bad in zip(keys_of("mid"), keys_of("ok"), keys_of("bad"), strict=True):
        bench.redis.hdel(f"{mid}:processed", ok)
        bench.redis.srem(f"{mid}:dependencies", bad)
        bench.redis.delete(f"{mid.replace('mid', 'top')}:dependencies")
    pairs = [
        (mid, job) for name in ("ok", "bad") for mid, job in zip(keys_of("mid"), keys_of(name), strict=True)
    ]
    return lambda: bench.store.repair.children(pairs, keys_of("top"))


def states_repaired(bench: Bench) -> Call:
    both(bench, IN_ONE_QUEUE)
    for flow in "fg":
        bench.redis.lrem(key("wait"), 1, f"{flow}-ok")
        bench.redis.lpush(key("wait"), f"{flow}-bad")
        bench.redis.lpush(key("wait"), f"{flow}-ghost")
    names = "ok", "bad", "ghost"
    return lambda: bench.store.repair.states(keys_of(*names, where=IN_ONE_QUEUE))


def flow_repaired(bench: Bench) -> Call:
    both(bench)
    bench.redis.hset("bull:flownb:counts:f", f"waiting@{base('q')}", "7")
    was = bench.store.flows.read_job_counts("f")
    counts = was | {f"waiting@{base('q')}": 4}
    return lambda: bench.store.repair.flow(base("up"), "f", was, counts)


def rows_gone_on(bench: Bench) -> Call:
    both(bench)
    take(bench, "opt")
    job = JobRow(1, "f-opt-0-1-0", "later", "{}", 1, 1)
    about = {"jobs": [job], "opts": "{}", "piece": 2_000_000_000, "packed": b"x"}
    return lambda: bench.store.jobs.add_siblings(base("r"), key("f-opt", "q"), **about)


SCENES: dict[str, tuple[Scene, ...]] = {
    "add_siblings": (Scene("of a shared job", rows_gone_on, single=True),),
    "add_jobs": (
        Scene("a new flow", added, single=True),
        Scene("under a running job", added_under_a_job, single=True),
        Scene("jobs that are there", shared_with_another, single=True),
    ),
    "add_deduplicated_jobs": (Scene("three of two ids", added_once, single=True),),
    "add_next_run": (Scene("of a schedule", schedule_goes_on, single=True),),
    "cancel_flow": (Scene("a flow", cancelled, single=True),),
    "cancel_job": (Scene("of two flows", one_cancelled, single=True),),
    "cancel_jobs": (Scene("jobs in every state", jobs_cancelled),),
    "change_delay": (Scene("a delayed job", put_off_by_hand, single=True),),
    "change_priority": (Scene("a waiting job", made_urgent, single=True),),
    "clear_jobs": (Scene("of two flows and of none", cleared, single=True),),
    "promote_jobs": (Scene("of two flows", promoted, single=True),),
    "remove_child_dependency": (Scene("a child of a flow", left_by_a_child, single=True),),
    "claim_auto_remove": (Scene("two flows are due", due_for_removal),),
    "claim_queue": (Scene("beside another kernel", code_claimed, single=True),),
    "extend_leases": (Scene("held and lost", leases),),
    "fail_deferred_parents": (Scene("parents in line", doomed_in_line),),
    "finish_and_fetch": (
        Scene("completed and ignored", ends),
        Scene("failed up to the root", failures),
        Scene("not ended", other_outcomes),
        Scene("roots", roots_end),
        Scene("kept by number", kept_by_number),
        Scene("cancelled", cancelled_on_the_way),
        Scene("paused", paused_in_line),
    ),
    "give_back": (Scene("charged", given_back, one_queue=True),),
    "notify_parents": (Scene("ended by others", ended_by_others),),
    "pause_flow": (Scene("a flow", flow_paused, single=True),),
    "pause_queue": (Scene("a queue", queue_paused, single=True),),
    "remove_jobs": (
        Scene("a whole flow", removed, single=True),
        Scene("a shared job stays", shared_stays, single=True),
    ),
    "remove_schedule": (Scene("with its next job", schedule_removed, single=True),),
    "resume_flow": (Scene("set aside beside another", flow_resumed, single=True, one_queue=True),),
    "resume_queue": (Scene("all that was set aside", queue_resumed, single=True, one_queue=True),),
    "retry_jobs": (Scene("failed jobs", retried), Scene("a cancelled flow", cancel_taken_back)),
    "save_rows": (Scene("of a shared job", rows_saved, single=True),),
    "set_brakes": (Scene("others, and the flow goes on", brakes_set, single=True),),
    "sweep_stalled": (Scene("in two queues", swept),),
    "tell_spent": (Scene("of two units", spent_told),),
    "update_job": (
        Scene("progress", updated("progress"), single=True),
        Scene("a log row", updated("log"), single=True),
    ),
    "upsert_schedule": (Scene("in place of another", schedule_replaced, single=True),),
    "write_flow_end": (Scene("a root", end_written, single=True),),
    "repair_children": (Scene("values, waits, none left", children_repaired),),
    "repair_flow": (Scene("counts", flow_repaired, single=True),),
    "repair_states": (Scene("nowhere, twice, a ghost", states_repaired, one_queue=True),),
}
