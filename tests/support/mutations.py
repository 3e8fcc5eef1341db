"""Does any test notice? Changes one line of a Lua script at a time, in a copy of the package, and runs the tests of it.

Run it by hand: ``python -m tests.support.mutations [--model] [word ...]`` (only mutations whose name holds a word; ``--model``: nobody but the
model of flows is asked). Prints which test killed each mutation; ends with 1 if one survived. Not collected by pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "wire"
MODEL = ROOT / "tests" / "model" / "test_model.py"


class Mutation(NamedTuple):
    """One changed line, and the files of tests that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


ADD, FLOWS, FETCH = "test_add_jobs.py", "test_add_flows.py", "test_fetch.py"
NEWER = "test_newer_layouts.py"
WEIGHTS, HOLDS = "test_weights.py", "test_holds.py"
DONE, FAIL, RETRY = "test_complete.py", "test_fail.py", "test_retry.py"
CANCEL, PAUSE, DOOM = "test_cancel.py", "test_pause_flow.py", "test_on_failure.py"
AGAIN, GONE, GROW = "test_retry_jobs.py", "test_remove_jobs.py", "test_grow.py"
KEEP, EVERY = "test_keep.py", "test_schedules.py"
MOVES, ONCE = "test_job_moves.py", "test_add_deduplicated.py"
MUTATIONS = [
    # as BullMQ's queue and job do it
    Mutation("young jobs are cleared", "clear", "age_of(job, state) > before", "false", MOVES),
    Mutation("running jobs are cleared", "clear", "if state == 'active' and redis.call('EXISTS', job.key .. ':lock') == 1", "if false", MOVES),
    Mutation("a cleared root leaves its flow behind", "clear_jobs", "if job.flow and job.is_large then", "if false then", MOVES),
    Mutation("a parent in the queue runs on nothing", "clear", "redis.call('SCARD', pending) - leaving <= 1", "false", MOVES),
    Mutation("a spared parent goes", "clear_jobs", "job.parent ~= args.spared and", "", MOVES),
    Mutation("a stopped run counts", "clear", "redis.call('HINCRBY', key, 'ats', 1)", "", MOVES),
    Mutation("cleared jobs are counted on", "clear", "count_move(job.q, job.flow, state == 'active' and job.began == 0 and 'waiting' or state, nil)", "", MOVES),
    Mutation("a promoted job goes without its priority", "promote_jobs", "args.in_bulk and 0 or", "0 or", MOVES),
    Mutation("a promoted job is counted as delayed", "promote_jobs", "count_move(q, has[2], 'delayed', state)", "", MOVES),
    Mutation("a changed delay counts from the adding", "change_delay", "local due = now + args.delay", "local due = args.delay", MOVES),
    Mutation("a changed priority is not stored", "change_priority", "redis.call('HSET', job, 'priority', int(args.priority))", "", MOVES),
    Mutation("a child that left is waited for", "remove_child_dependency", "forget_child(parent, job.key)", "", MOVES),
    Mutation("a child that ended leaves", "remove_child_dependency", "if redis.call('SISMEMBER', parent .. ':dependencies', job.key) == 0 then return reply{removed = false} end", "", MOVES),
    Mutation("a cancelled job fails nobody", "cancel_job", "notify_failed(job.key, 'cancelled', job.links)", "", MOVES),
    Mutation("an id stands for nothing", "owner", "if not owner or is_gone then", "if true then", ONCE),
    Mutation("a kept job gets another id", "owner", ", 'jid', row.id)", ")", ONCE),
    # removing by option
    Mutation("a job of a flow is removed at once", "retention", "if has[1] then return end", "", KEEP),
    Mutation("one more is kept", "retention", "int(retention.newest), int", "int(retention.newest + 1), int", KEEP),
    Mutation("one that is not kept takes all with it", "retention", "if retention.newest == 0 then", "if false then", KEEP),
    Mutation("the limit is forgotten", "retention", "math.min(retention.limit, MOST_REMOVED)", "MOST_REMOVED", KEEP),
    Mutation("failures and successes share a set", "retention", "q.completed or q.failed", "q.completed or q.completed", KEEP),
    Mutation("a removed failure keeps its parent", "retention", "then release_at_once(has[2]) end", "then end", KEEP),
    Mutation("a flow is due whoever asks", "end_flow", "if not field_of(record, 'tidy') then return end", "", KEEP),
    Mutation("a claim is for nobody", "claim_auto_remove", "redis.call('ZADD', home .. ':tidy', int(now + 60000), flow)\n    if has[2]", "if has[2]", KEEP),
    Mutation("a retried flow is removed", "claim_auto_remove", "if has[1] and field_of(record, 'ended') then claimed", "if has[1] then claimed", KEEP),
    # schedules
    Mutation("a schedule changed meanwhile is replaced", "upsert_schedule", "if (next_due(q, scheduler) or false) ~= args.before then", "if false then", EVERY),
    Mutation("a tick's job that runs is overwritten", "upsert_schedule", "and not (waits and args.due == args.before)", "and not args.before", EVERY),
    Mutation("the job of the former times stays", "upsert_schedule", "if waits then drop_run(q, scheduler, args.before) end", "", EVERY),
    Mutation("iterations are counted anew", "upsert_schedule", "field_of(record, 'ic') or '1'", "'1'", EVERY),
    Mutation("a removed schedule has another tick", "remove_schedule", "if id and redis.call('ZREM', q.delayed, id) == 1 then", "if false then", EVERY),
    Mutation("a removed schedule leaves what is beside it", "remove_schedule", "if args.beside then redis.call('DEL', args.beside) end", "", EVERY),
    Mutation("what is due now waits for a time", "schedule", "if delay > 0 then", "if true then", EVERY),
    # flows of a newer flownb
    Mutation("an unknown layout is run", "may_start", "if has_unknown_layout(q, flow, newest_layout) then", "if false then", NEWER),
    Mutation("marks go before the layout", "may_start", "if has_unknown_layout(q, flow, newest_layout) then", "if not is_cancelled(q, job, flow) and has_unknown_layout(q, flow, newest_layout) then", NEWER),
    Mutation("a layout that says nothing is run", "layout", "layout:find('^%d+$') and tonumber(layout) <= newest", "(tonumber(layout) or 0) <= newest", NEWER),
    Mutation("a job left alone is not counted", "layout", "count_move(q, flow, from, put_off(q, id, due))", "put_off(q, id, due)", NEWER),
    Mutation("the layout is asked for each job", "layout", "if is_flow_unknown[flow] == nil then", "if true then", NEWER),
    # refusals and fencing
    Mutation("a foreign lock lets an end through", "outcome", "if lock and lock ~= token then", "false then", DONE),
    Mutation("no look at ats", "outcome", "~= attempts_started then return 'stale'", "== -1 then return 'stale'", DONE),
    Mutation("a repeated end is not known", "outcome", "has[4] == token", "false", DONE),
    Mutation("a late end is always refused", "outcome", "if not lock and tonumber(has[1]) ~= attempts_started", "if not lock", DONE),
    Mutation("pending children let an end through", "outcome", "if kind == 'completed' and may_be_held or", "if", DONE),
    Mutation("failed children are told as pending", "outcome", "== 1 then return 'failed-children' end", "== 1 then return 'pending-children' end", DONE),
    Mutation("a late end stays in line", "outcome", "if redis.call('LREM', q.wait, -1, id) == 1", "if redis.call('LPOS', q.wait, id)", DONE),
    Mutation("a late end keeps defa", "finish", "redis.call('HDEL', run.job, 'defa')", "", DONE),
    Mutation("what completed is not in its set", "finish_and_fetch", "write_completed()\n", "", DONE),
    Mutation("what completed is counted before it is in its set", "finish", "if run.retention then write_completed() end", "", KEEP),
    Mutation("the lease is not freed", "finish_and_fetch", "if #free > 0 then", "if #free > 9 then", DONE),
    Mutation("a suspect stays suspected", "finish_and_fetch", "attempt('SREM', q.stalled, unpack(q.left))", "", DONE),
    Mutation("a returned job forgets its token", "finish", "store_returned(run)\n  local q, job = run.q, run.job\n  redis.call('HSET', job, 'ft', run.token)", "store_returned(run)\n  local q, job = run.q, run.job", RETRY),
    Mutation("a new job may be another's", "add_jobs", "i <= args.fresh and", "false and", ADD),
    Mutation("a resent call meets itself", "add_parent", "has[2] ~= flow", "true", ADD),
    Mutation("BullMQ's parent is replaced", "add_jobs", "args.bullmq and parent and", "false and", ADD),
    Mutation("BullMQ's id counts what was stored", "add_jobs", "if args.bullmq then q.stored", "if false then q.stored", ADD),
    Mutation("a missing parent is not noticed", "add_jobs", "if parent.is_outside and", "if false and", ADD),
    # rows that go on
    Mutation("a cancelled flow gets the next step", "add_siblings", "if flow and was_cancelled(q, flow) then", "if false then", "test_add_siblings.py"),
    Mutation("a next step is counted by one flow alone", "add_siblings", "if i > 1 then", "if false then", "test_add_siblings.py"),
    Mutation("a next step loses its pilot's pass", "add_siblings", "redis.call('HSET', pilot, job, '1')", "", "test_add_siblings.py"),
    Mutation("what was set aside stays aside", "add_parent", "      back_in_line(q, job, has[5])", "", "test_add_siblings.py"),
    # children at run time
    Mutation("a run that is over adds children", "own_run", "has[2] == own_run.token", "false", GROW),
    Mutation("a foreign run adds children", "own_run", "return lock == own_run.token", "return true", GROW),
    Mutation("a run that was overtaken adds children", "own_run", "tonumber(has[1]) == own_run.attempts_started", "true", GROW),
    Mutation("a new root keeps what an old one left", "child_jobs", "redis.call('DEL', flow_key", "redis.call('EXISTS', flow_key", GROW),
    Mutation("a new root is not counted", "child_jobs", "count_move(q, flow, nil, state_of(q, id))", "", GROW),
    Mutation("a wait for nobody goes on for ever", "finish", "return store_returned(run) end", "end", GROW),
    Mutation("a failure that lets it go on is not seen", "finish", "done = done or attempt('HEXISTS'", "done = done and attempt('HEXISTS'", GROW),
    Mutation("a wait is taken although a child failed it", "outcome", "may_be_held or kind == 'parked' then", "may_be_held then", GROW),
    Mutation("a wait forgets its token", "finish", "redis.call('HSET', job, 'ft', run.token)\n  redis.call('ZADD', q.waiting_children", "redis.call('ZADD', q.waiting_children", GROW),
    # what is stored
    Mutation("the end's time is not stored", "finish", "'returnvalue', run.value, 'finishedOn', now_text,", "'returnvalue', run.value,", DONE),
    Mutation("no attempt is counted", "end_run", "run.attempts_made + 1", "run.attempts_made", DONE),
    Mutation("defa stays on a failed job", "finish", "redis.call('HDEL', job, 'defa')", "", FAIL),
    Mutation("exhausted one attempt early", "finish", "if made >= run.attempts", "if made >= run.attempts - 2", FAIL),
    Mutation("a retry takes the wrong end", "finish", "run.lifo and 'R' or 'L'", "run.lifo and 'L' or 'R'", RETRY),
    Mutation("a returned job goes to the end of the line", "enqueue", "return enqueue(q, id, 0, 'R')", "return enqueue(q, id, 0, 'L')", RETRY),
    Mutation("jobs due together lose their order", "enqueue", "math.min(tonumber(top[2]) + 1, high)", "low", ADD),
    Mutation("a due job keeps its delay", "enqueue", "attempt('HSET', job, 'delay', '0')", "", FETCH),
    Mutation("due a millisecond late", "enqueue", "int((now + 1) * 4096 - 1), 'LIMIT'", "int(now * 4096 - 1), 'LIMIT'", FETCH),
    Mutation("lifo is forgotten", "new_job", "details.lifo and 'R' or 'L'", "'L'", ADD),
    Mutation("an id twice in a call is stored twice", "add_jobs", "if named[job] then none_exists = false end", "", ADD),
    # waking
    Mutation("a held queue is woken", "queue", "q.has_new_work and not is_blocked(q)", "q.has_new_work", ADD),
    Mutation("nobody is woken", "queue", "attempt('ZADD', q.marker, 0, '0') end", "end", ADD),
    Mutation("the marker is not put back", "fetch", "q.has_more = may_have_more and", "q.has_more = false and", FETCH),
    Mutation("the marker is put back for nothing", "fetch", "q.has_more = may_have_more and", "q.has_more =", FETCH),
    Mutation("workers are woken for what is taken", "fetch", "if not may_have_more then q.has_new_work = nil end", "", FETCH),
    # limits by weight, and holds
    Mutation("a window is let run over", "weights", "limit.used + weight > limit.most * ROUNDING", "limit.used > limit.most * ROUNDING", WEIGHTS),
    Mutation("a heavy one never begins", "weights", "weight > 0 and limit.used > 0 and", "weight > 0 and", WEIGHTS),
    Mutation("a debt is forgotten", "weights", "limit.used - past * limit.most, 0)", "0, 0)", WEIGHTS),
    Mutation("a late worker costs rate", "weights", "limit.start = limit.start + past * limit.ms", "limit.start = now", WEIGHTS),
    Mutation("a weight that did not begin is kept", "weights", "if now - age >= limit.start then", "if false then", WEIGHTS),
    Mutation("a weight is given back to a later window", "weights", "if now - age >= limit.start then", "if true then", WEIGHTS),
    Mutation("what was not spent is freed in a later window", "weights", "limit.unit == spent[i] and began >= limit.start", "limit.unit == spent[i]", WEIGHTS),
    Mutation("spending is counted beside the weight", "weights", "math.max(before / PARTS, weight)", "before / PARTS", WEIGHTS),
    Mutation("a light one overtakes", "fetch", "and not has_room(q, job, fields) then\n        put_back(q, ids, i)\n        room, may_have_more = started, true\n        break", "and not has_room(q, job, fields) then\n        put_back(q, {id}, 1)", WEIGHTS),
    Mutation("idle workers wake each other for a full window", "fetch", "popped > 0 and not (q.full_ms and started == 0)", "popped > 0", WEIGHTS),
    Mutation("a short hold ends a long one", "holds", "has.ends = math.max(has.ends, now + hold)", "has.ends = now + hold", HOLDS),
    Mutation("calls side by side double the wait", "holds", "if began >= has.set then has.unsaid", "if true then has.unsaid", HOLDS),
    Mutation("an answer does not end the doubling", "finish_and_fetch", "if q.was_answered then forget_limited(q) end", "", HOLDS),
    Mutation("old holds count", "holds", "or began > ends + FORGOTTEN_MS", "", HOLDS),
    # parents
    Mutation("every child wakes the parent", "release", "if redis.call('SCARD', parent .. ':dependencies') == 0 then", "if true then", DONE),
    Mutation("the parent keeps waiting for a done child", "notify", "redis.call('SREM', pending, unpack(done))", "", DONE),
    Mutation("the parent has no value", "notify", "redis.call('HSET', parent .. ':processed', unpack(results))", "", DONE),
    Mutation("a value nobody awaits is told", "notify", "if awaited[i] == 1 then", "if true then", DONE),
    Mutation("a released parent loses its delay", "release", "if delay > 0 then", "if false then", DONE),
    Mutation("a released parent joins the end", "release", "number(has[1]), 'R')", "number(has[1]), 'L')", DONE),
    Mutation("a failure does not climb", "notify", "return fail_parent(link.key", "fail_parent(link.key", FAIL),
    Mutation("an optional failure releases too early", "notify", "if link.policy == 'cpof' then release", "if link.policy ~= '' then release", FAIL),
    Mutation("further parents are not told", "parents", "if is_shared and", "if false and", FLOWS),
    Mutation("the cause is the last failure", "end_flow", "attempt('HSETNX', flow_key('flow', q, flow), 'cause', cause)", "attempt('HSET', flow_key('flow', q, flow), 'cause', cause)", FAIL),
    Mutation("a shared parent is not counted in the other flow", "fail_parent", "for _, link in ipairs(links) do count_move(q, link.flow, 'waiting', 'failed') end", "", FLOWS),
    Mutation("a policy-less failure counts as settled", "notify", "if link.policy ~= '' and", "if", FAIL),
    # adding to what is there
    Mutation("a completed child has no value for a new parent", "add_parent", "redis.call('HSET', parent.key .. ':processed', job, copy_for_parent(parent.key, has[2]))", "", FLOWS),
    Mutation("a job shared between flows is counted twice", "add_parent", "has[5] ~= flow and is_first", "has[5] ~= flow", FLOWS),
    Mutation("no seal", "add_jobs", "if details.has_children and args.seal then", "if false then", FLOWS),
    Mutation("the seal stays", "add_jobs", "if args.seal then redis.call('SREM', parent .. ':dependencies', args.seal) end", "", FLOWS),
    # taking
    Mutation("a ghost is run", "fetch", "if not (fields[NAME] and fields[DATA]) then", "if false then", FETCH),
    Mutation("the limit is one too high", "limits", "if used >= max then", "if used > max then", FETCH),
    Mutation("a failure to be is counted against the limit", "fetch", "if not fields[DEFA] then charged", "if true then charged", FETCH),
    Mutation("global concurrency is not looked at", "limits", "want = math.min(want, most - redis.call('LLEN', q.active))", "", FETCH),
    Mutation("the counter of ranks is kept", "fetch", "if #ids < want then redis.call('DEL', q.pc) end", "", FETCH),
    # leases
    Mutation("anybody's lease is renewed", "extend_leases", "lock == lease.token", "lock", "test_extend_leases.py"),
    Mutation("a lost lease is taken without a look at ats", "extend_leases", "tonumber(field_of(job, 'ats')) == lease.attempts_started and", "", "test_extend_leases.py"),
    Mutation("moved at the first sweep", "sweep_stalled", "local suspects = attempt('SMEMBERS', q.stalled)", "local suspects = redis.call('LRANGE', q.active, 0, -1)", "test_sweep_stalled.py"),
    Mutation("leased jobs are swept", "sweep_stalled", "redis.call('EXISTS', job .. ':lock') == 0 and redis.call('LREM'", "redis.call('LREM'", "test_sweep_stalled.py"),
    Mutation("a stalled job is failed one stall early", "stall", "return deaths > most and", "return deaths >= most and", "test_sweep_stalled.py"),
    Mutation("jobs of others are given back", "give_back", "attempt('GET', job .. ':lock') == args.locks[i] and", "", "test_give_back.py"),
    Mutation("a job taken ahead begins at once", "fetch", "+ 1, worker.free == 0\n", "+ 1, false\n", FETCH),
    Mutation("a suspect is taken with others", "fetch", "fields[SUSPECT] and not worker.alone", "false", "test_give_back.py"),
    Mutation("the place in the window is kept", "limits", "age <= window - left", "false", FETCH),
    Mutation("a place in the window after is given back", "limits", "age <= window - left", "true", FETCH),
    Mutation("a suspect is given up at once", "stall", "alone >= math.min(ALONE_TO_FAIL, most + 1)", "true", "test_give_back.py"),
    Mutation("what had not begun is charged", "sweep_stalled", "if has[2] then charge", "if true then charge", "test_sweep_stalled.py"),
    Mutation("a lost answer is charged", "give_back", "if args.death == 'begun' then", "if true then", "test_give_back.py"),
    # deduplication
    Mutation("an id with a time to live is freed", "deduplication", "redis.call('PTTL', owner) ~= -1 or", "", "../interop/test_deduplication.py"),
    # the rest
    Mutation("a log grows without end", "update_job", "if args.keep and rows > args.keep", "if false", "test_update_job.py"),
    Mutation("a save sent twice counts twice", "save_rows", "if tonumber(run) ~= args.own_run.attempts_started then", "if true then", "test_save_rows.py"),
    Mutation("a run that is over saves", "save_rows", "if not still_runs(args.own_run) then", "if false then", "test_save_rows.py"),
    Mutation("open rows of a cancelled job are uncounted", "wait_again", "((is_cancelled or not is_failed) and job.were_open or 0)", "0", "test_save_rows.py"),
    Mutation("a pause leaves the marker", "pause_queue", "redis.call('DEL', q.marker)", "", "test_pause_queue.py"),
    Mutation("a resume does not wake", "resume_queue", "redis.call('EXISTS', q.wait, q.prioritized) > 0", "false", "test_pause_queue.py"),
    Mutation("a lock that was left behind counts", "read_jobs", "in_use(base .. ':active') and redis.call('EXISTS', key", "redis.call('EXISTS', key", "test_read_jobs.py"),
    Mutation("a failed job reads as completed", "read_jobs", "has[2] and 'completed' or 'failed'", "'completed'", "test_read_jobs.py"),
    Mutation("counts are not written", "counts", "if n ~= 0 then", "if n > 0 then", FETCH),
    Mutation("a flow never ends", "end_flow", "'HSET', record, 'ended'", "'HSET', record, 'over'", DONE),
    Mutation("attempts do not start anew", "wait_again", "'atm', '0'", "'stc', '0'", AGAIN),
    Mutation("a root that waits again has ended", "wait_again", "if job.is_root then", "if false then", AGAIN),
    Mutation("a parent held down revives", "wait_again", "if job and redis.call('EXISTS', job.key .. ':unsuccessful') == 1 then", "if false then", AGAIN),
    Mutation("a parent in line runs on what it had", "wait_again", "else leave_line(job) end", "else redis.call('HDEL', job.key, 'defa') end", AGAIN),
    Mutation("a late end of a parent that waits again", "wait_again", "redis.call('HINCRBY', job.key, 'ats', 1)", "job.attempts_started = nil", AGAIN),
    Mutation("a mended cause stays", "reopen_flow", "redis.call('HDEL', record, 'cause')", "", AGAIN),
    Mutation("another flow's parent is sealed", "wait_again", "if seal.member and (redis.call('HGET', link.key, 'fl') or nil) == seal.flow then", "if seal.member then", AGAIN),
    Mutation("a retry sent twice", "retry_jobs", "redis.call('HSET', job.key, 'rt', args.token)", "job.retry_token = args.token", AGAIN),
    Mutation("a running ancestor is not seen", "retry_jobs", "running[link.key] = running_above(above)", "running[link.key] = false", AGAIN),
    Mutation("lifo is forgotten", "retry_jobs", "retry.lifo and 'R' or 'L'", "'L'", AGAIN),
    Mutation("a running job is removed", "remove_jobs", "job.state == 'active' or ", "", GONE),
    Mutation("a locked job is removed", "remove_jobs", " or redis.call('EXISTS', key .. ':lock') == 1", "", GONE),
    Mutation("a shared job is removed", "remove_jobs", "key ~= top and job.links or {}", "{}", GONE),
    Mutation("the newest name goes", "flow_record", "if owner == id then\n    if former", "if true then\n    if former", GONE),
    Mutation("a line loses another job", "lists", "redis.call('LSET', list, position + i - 1, '')", "redis.call('LSET', list, position + i, '')", CANCEL),
    Mutation("what stands apart in a line is not found", "lists", "if left > FEW then left = left - remove_from(list, 0, wanted, found, true) end", "", GONE),
    Mutation("a removed failure holds its parent down", "forget_child", "redis.call('ZREM', parent .. ':unsuccessful', child)", "redis.call('EXISTS', child)", GONE),
    Mutation("a job that stays keeps its flow", "detach", "redis.call('HSET', job.key, 'fl', flow)", "redis.call('HSET', job.key, 'fl', job.flow)", GONE),
    Mutation("a parent is not released softly", "forget_child", "release_at_once(parent) end", "end", GONE),
    # cancelling
    Mutation("the root of a cancelled flow stays", "cancel_flow", "cancel(root.q, root.id, root.state)", "", CANCEL),
    Mutation("a completed flow is cancelled", "cancel_flow", "ended ~= 'completed'", "true", CANCEL),
    Mutation("a later end overwrites the cancel", "end_flow", "if has[1] == 'cancelled' then return end", "", CANCEL),
    Mutation("jobs that are needed are cancelled", "cancel_jobs", "if is_cancelled(q, key, has[3], links) then", "if true then", CANCEL),
    Mutation("a shared job is cancelled", "needed", "if leads then needed = true break end", "", CANCEL),
    Mutation("a waiting parent is left behind", "cancel", "if redis.call('ZREM', above.waiting_children, above_id) == 1 then", "if false then", CANCEL),
    Mutation("parents are not told of a cancelled child", "cancel", "keep_cancelled_child(link, job, told)", "", CANCEL),
    Mutation("a cancelled job is attempted again", "end_run", "if flow and cancel_instead(run, made, counted) then", "if false then", CANCEL),
    Mutation("a cancelled job loses a rate limit", "end_run", "hold_queue_of(run)\n  cancel(", "cancel(", CANCEL),
    Mutation("a cancelled job comes back from a lost worker", "give_back", "if is_cancelled(q, job, has[2]) then", "if false then", CANCEL),
    Mutation("a cancelled job comes back when stalled", "sweep_stalled", "if is_cancelled(q, job, flow) then", "if false then", CANCEL),
    Mutation("a running job is not told", "update_job", "if not has[3] and is_cancelled(q, job, has[2]) then", "if false then", CANCEL),
    Mutation("a chunk is stored after the cancel", "add_jobs", "if flow and was_cancelled(queues[1], flow) then", "if false then", CANCEL),
    Mutation("a retry leaves the mark", "reopen_flow", "attempt('SREM', flows, id)", "", CANCEL),
    Mutation("a fetch looks on for ever", "fetch", " or popped >= MOST_POPPED", "", CANCEL),
    # pausing
    Mutation("a paused flow is asked nothing", "may_start", "and is_unmarked(q, flow)", "", PAUSE),
    Mutation("a paused flow starts", "may_start", "set_aside(q, id, flow, from)", "return true", PAUSE),
    Mutation("jobs are put back in the wrong order", "enqueue", "return enqueue(q, id, 0, 'R')", "return enqueue(q, id, 0, 'L')", PAUSE),
    Mutation("jobs of other paused flows are put back", "set_aside", "if is_needed(q, job, has[1], 'paused') then", "if true then", PAUSE),
    Mutation("a late end leaves an id put aside", "outcome", " or redis.call('LREM', q.paused, 1, id) == 1", "", PAUSE),
    Mutation("a parent that waits again stays put aside", "wait_again", "redis.call('LREM', job.q.paused, 1, job.id)", "", PAUSE),
    # failures that doom
    Mutation("every failure dooms", "fail_parent", "~= 'cancel' then return end", "== '' then return end", DOOM),
    Mutation("what had no pending child is marked", "fail_parent", "if redis.call('EXISTS', parent .. ':dependencies') == 0 then return end", "", DOOM),
    Mutation("a failed parent leads on", "needed", "(mark == 'cancelled' and above[3] and not above[4])", "false", DOOM),
    Mutation("the call that dooms takes on", "end_run", "if #failed_parents > 0 then forget_marks() end", "", DOOM),
    Mutation("what a job failed with its children pending is run", "end_run", "if run.flow then cancel_pending(run.q, run.flow, run.job) end", "", DOOM),
]  # fmt: skip


def kill(mutation: Mutation, by: Sequence[Path]) -> str | None:
    """Return the test that noticed, or None; `by` are files of tests."""
    with tempfile.TemporaryDirectory(prefix="flownb-mutant-") as folder:
        package = Path(folder, "flownb")
        shutil.copytree(ROOT / "flownb", package, ignore=shutil.ignore_patterns("__pycache__"))
        (path,) = (package / "wire" / "lua").rglob(f"{mutation.file}.lua")
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([folder, str(ROOT)]),  # the mutant's package before the real one
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLOWNB_MUTANT": mutation.name,
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--tb=no",
            "-o",
            "pythonpath=",
        ]
        for tests in by or (TESTS / mutation.tests, TESTS / "test_properties.py"):
            done = subprocess.run(
                [*command, str(tests)], cwd=ROOT, env=environment, capture_output=True, text=True
            )
            if done.returncode not in (0, 1):
                raise SystemExit(
                    f"{mutation.name}: the tests did not run\n{done.stdout[-800:]}{done.stderr[-800:]}"
                )
            if done.returncode == 1:
                found = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+::\S+)", done.stdout, re.MULTILINE)
                return found[1] if found else "?"
    return None


def main(words: list[str]) -> int:
    """Try the mutations, two at a time, and print a table."""
    by = [MODEL] if "--model" in words else []
    words = [word for word in words if word != "--model"]
    chosen = [
        one for one in MUTATIONS if not words or any(word in f"{one.file} {one.name}" for word in words)
    ]
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        for one, killer in zip(chosen, pool.map(partial(kill, by=by), chosen), strict=True):
            survivors += killer is None
            print(f"{one.file + ': ' + one.name:<72} {killer or 'SURVIVED'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
