--- finish_and_fetch: active -> completed, failed, delayed, waiting or waiting-children; then waiting -> active.
-- Many jobs of many queues end and the next ones start, in one call; the last child wakes its parent.
-- A bad outcome spoils only itself: its answer says why it was refused. Nothing of a queue that is damaged moves; a parent
-- that is damaged is left as it is, and its children end. Sent twice, a call changes nothing.
-- `suspect_in` is a queue whose next job a worker asks for when it runs nothing else, `alone`.
-- `failed_parents` have pending children that nobody needs any more; `shared` are jobs that ended here and have more
-- further parents than one call notifies; `unknown_flows` have a layout that the worker does not know: their jobs that
-- it came upon are delayed; of `limited_flows` every call was limited for too long: each is a queue and a flow.
-- @keys    queues
-- @args    now outcomes want worker
-- @returns answers jobs again failed_parents shared suspect_in unknown_flows limited_flows
-- @errors
-- @use     types queue counts parents finish end_run fail_parent deduplication share begin layout spending brakes bounds
-- @row     fetched_job base id fields

-- 1. Look at every outcome; nothing is written before.
local answers, outcomes, jobs, lock_keys, held_by = {}, {}, {}, {}, {}
for i, packed in ipairs(args.outcomes) do
  local outcome = outcome_of(packed)
  local job = outcome.base .. ':' .. outcome.id
  outcomes[i], jobs[i], lock_keys[i] = outcome, job, job .. ':lock'
  if outcome.kind == 'completed' then
    held_by[#held_by + 1], held_by[#held_by + 2] = job .. ':dependencies', job .. ':unsuccessful'
  end
end
local locks = #lock_keys > 0 and redis.call('MGET', unpack(lock_keys)) or {}
local may_be_held = #held_by > 0 and redis.call('EXISTS', unpack(held_by)) > 0
local runs = {} -- the outcomes that count
local owners = {} -- of deduplication ids: {queue, id, deduplication id}
for i, run in ipairs(outcomes) do
  local q, job = queue_at(run.base), jobs[i]
  local has = fields_of(job, 'ats', 'parentKey', 'fl', 'ft', 'atm', 'sh', 'deid', 'processedOn')
  answers[i] = not is_sound(q) and 'damaged' or refusal(run, job, locks[i], has, may_be_held) or 'done'
  if run.spent and has[1] then
    note_spent(q, job, has[3], run.attempts_started, run.spent)
    if has[3] then flows_to_review[has[3]] = q end
  end
  if answers[i] == 'done' and run.kind == 'begun' then
    if not has[8] then
      tell_beginning(q, run.id, job, run.ran)
      count_move(q, has[3], 'waiting', 'active')
    end
  elseif answers[i] == 'done' then
    local from = leave_active(q, run.id)
    if from then
      run.q, run.job, run.lock, run.from, run.has_begun, run.is_unbegun = q, job, lock_keys[i], from, has[8], run.kind == 'unbegun'
      run.is_root, run.flow, run.parent = not has[2], has[3], has[2] and is_sound_job(has[2]) and has[2]
      run.attempts_made, run.is_shared = number(has[5]), has[6]
      end_if_cancelled(run)
      runs[#runs + 1] = run
      local has_ended = run.kind == 'completed' or run.kind == 'failed'
      if has_ended or run.kind == 'retry' or run.rows then q.was_answered = true end
      if has_ended and has[7] then owners[#owners + 1] = {q, run.id, has[7]} end
    else
      answers[i] = 'stale'
    end
  end
end

-- 2. Free the leases.
local free = {}
for i, run in ipairs(runs) do
  free[i] = run.lock
  local left = run.q.left or {}
  left[#left + 1] = run.id
  run.q.left = left
end
if #free > 0 then redis.call('DEL', unpack(free)) end
for _, q in pairs(queues_seen) do
  if q.left then
    attempt('SREM', q.stalled, unpack(q.left))
    trim_events(q)
    if q.was_answered then forget_limited(q) end
  end
end

-- 3. Free deduplication ids, notify parents of what completed, then write each job's end.
for _, owner in ipairs(owners) do end_deduplication(unpack(owner)) end
notify_of_completed(runs)
for _, run in ipairs(runs) do
  end_run(run)
  if run.spent then
    free_unspent(run.q, run.job, tonumber(run.has_begun) or now - (run.ran or 0), run.spent)
  end
  if run.is_unbegun then
    refund_limit(run.q, run.ran, args.worker.limiters and args.worker.limiters[run.q.base])
    if run.value then redis.call('HSET', run.job, 'wt', run.value)
    elseif weight_limits(run.q, run.q.limits) then refund_weight(run.q, run.job, run.ran) end
  end
end
write_completed()

for _, run in ipairs(runs) do
  if run.flow then call_in(run.q, run.flow) end
end
review_brakes()

-- 4. Fetch the next jobs.
local fetched = {}
local fetch_some = args.worker.shares and fetch_in_shares or fetch_in_order
local again = fetch_some(queues, args.want, args.worker, fetched)
for _, q in ipairs(queues) do
  if args.want > 0 and q.left and not q.has_given
      and redis.call('EXISTS', q.wait, q.active, q.prioritized, q.delayed, q.paused) == 0 then
    emit(q, 'drained')
  end
end

write_used()
write_counts()
wake_workers()
return reply{answers = answers, jobs = fetched, again = again, failed_parents = failed_parents, shared = notified_later,
             suspect_in = suspect_in, unknown_flows = unknown_flows, limited_flows = limited_flows}
