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
local answers, runs, jobs, lock_keys, outcomes = {}, {}, {}, {}, {}
local owners = {} -- of deduplication ids: {queue, id, deduplication id}
for i, packed in ipairs(args.outcomes) do
  local outcome = outcome_of(packed)
  local job = outcome.base .. ':' .. outcome.id
  outcomes[i], jobs[i], lock_keys[i] = outcome, job, job .. ':lock'
end
local locks = #lock_keys > 0 and redis.call('MGET', unpack(lock_keys)) or {}
for i, outcome in ipairs(outcomes) do
  local q, job = queue_at(outcome.base), jobs[i]
  local has = fields_of(job, 'ats', 'parentKey', 'fl', 'ft', 'atm', 'sh', 'deid', 'processedOn', 'defa')
  answers[i] = not is_sound(q) and 'damaged' or refusal(outcome, job, locks[i], has) or 'done'
  if outcome.spent and has[1] then
    note_spent(q, job, has[3], outcome.attempts_started, outcome.spent)
    if has[3] then flows_to_review[has[3]] = q end
  end
  if answers[i] == 'done' and outcome.kind == 'begun' then
    if not has[8] then
      tell_beginning(q, outcome.id, job, outcome.ran)
      count_move(q, has[3], 'waiting', 'active')
    end
  elseif answers[i] == 'done' then
    local from = leave_active(q, outcome.id)
    if from then
      local run = {outcome = outcome, q = q, job = job, lock = lock_keys[i], from = from, has_begun = has[8], is_unbegun = outcome.kind == 'unbegun',
                   is_root = not has[2], flow = has[3], parent = has[2] and is_sound_job(has[2]) and has[2],
                   attempts_made = number(has[5]), is_shared = has[6]}
      end_if_cancelled(run, has[9])
      runs[#runs + 1] = run
      local kind = outcome.kind
      local has_ended = kind == 'completed' or kind == 'failed'
      if has_ended or kind == 'retry' or outcome.rows then q.was_answered = true end
      if has_ended and has[7] then owners[#owners + 1] = {q, outcome.id, has[7]} end
    else
      answers[i] = 'stale'
    end
  end
end

-- 2. Free the leases.
local free = {}
for _, run in ipairs(runs) do
  free[#free + 1] = run.lock
  local left = run.q.left or {}
  left[#left + 1] = run.outcome.id
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
  local outcome = run.outcome
  if outcome.spent then
    free_unspent(run.q, run.job, tonumber(run.has_begun) or now - (outcome.ran or 0), outcome.spent)
  end
  if run.is_unbegun then
    refund_limit(run.q, outcome.ran, args.worker.limiters and args.worker.limiters[run.q.base])
    if outcome.value then redis.call('HSET', run.job, 'wt', outcome.value)
    elseif weight_limits(run.q, run.q.limits) then refund_weight(run.q, run.job, outcome.ran) end
  end
end

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
