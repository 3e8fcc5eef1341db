--- finish_and_fetch: active -> completed, failed, delayed, waiting or waiting-children; then waiting -> active.
-- Many jobs of many queues end and the next ones start, in one call; the last child wakes its parent.
-- A bad outcome spoils only itself: `refused` says why. Nothing of a queue that is damaged moves; a parent
-- that is damaged is left as it is, and its children end. Sent twice, a call changes nothing.
-- `suspect_in` is a queue whose next job a worker asks for when it runs nothing else, `alone`.
-- `failed_parents` have pending children that nobody needs any more; `shared` are jobs that ended here and have more
-- further parents than one call notifies; `unknown_flows` have a layout that the worker does not know: their jobs that
-- it came upon are delayed; of `limited_flows` every call was limited for too long: each is a queue and a flow.
-- @keys    queues
-- @args    now outcomes want worker
-- @returns refused jobs again failed_parents shared suspect_in unknown_flows limited_flows
-- @errors
-- @use     types queue counts outcome finish end_run fail_parent deduplication share begin layout spending brakes bounds
-- @row     fetched base ids rows
-- @row     refused position answer

-- 1. Look at every outcome; nothing is written before.
local outcomes, refused, jobs, lock_keys, held_by = args.outcomes, {}, {}, {}, {}
local base, token, q, is_whole = nil, nil, nil, nil
for at = 0, #outcomes - 1, PARTS_OF_AN_OUTCOME do
  base = outcomes[at + 1] or base
  local id = outcomes[at + 2]
  local kind = outcomes[at + 5] or 'completed'
  local job, i, n = base .. ':' .. id, #jobs + 1, #held_by
  jobs[i], lock_keys[i] = job, job .. ':lock'
  if kind == 'completed' then
    held_by[n + 1], held_by[n + 2] = job .. ':dependencies', job .. ':unsuccessful'
  end
end
local locks = #jobs > 0 and redis.call('MGET', unpack(lock_keys)) or {}
local may_be_held = #held_by > 0 and redis.call('EXISTS', unpack(held_by)) > 0
local runs, free, flows = {}, {}, {} -- the outcomes that count, their leases and their flows, each with a queue
local owners = {} -- of deduplication ids: {queue, id, deduplication id}
for i = 1, #jobs do
  local at, job = (i - 1) * PARTS_OF_AN_OUTCOME, jobs[i]
  base = outcomes[at + 1]
  if base then
    q = queue_at(base)
    is_whole = is_sound(q)
  end
  token = outcomes[at + 3] or token
  local attempts_started = outcomes[at + 4]
  local has = read_for_end(job)
  local run = run_at(outcomes, at, token, q, job, has)
  local answer = not is_whole and 'damaged' or refusal(run, attempts_started, locks[i], has, may_be_held)
  local flow, kind = run.flow, run.kind
  if run.spent and has[1] then
    note_spent(q, job, flow, attempts_started, run.spent)
    if flow then flows_to_review[flow] = q end
  end
  if not answer and kind == 'begun' then
    if not run.has_begun then
      tell_beginning(q, run.id, job, run.ran)
      count_move(q, flow, 'waiting', 'active')
    end
  elseif not answer and leave_active(run) then
    if kind ~= 'completed' then end_if_cancelled(run) end
    local n, left = #runs + 1, q.left or {}
    runs[n], free[n], left[#left + 1] = run, lock_keys[i], run.id
    q.left = left
    if flow then flows[flow] = q end
    local has_ended = run.kind == 'completed' or run.kind == 'failed'
    if has_ended or kind == 'retry' or run.rows then q.was_answered = true end
    if has_ended and has[7] then owners[#owners + 1] = {q, run.id, has[7]} end
  else
    answer = answer or 'stale'
  end
  if answer then refused[#refused + 1] = {i, answer} end
end

-- 2. Free the leases.
if #free > 0 then redis.call('DEL', unpack(free)) end
for _, q in pairs(queues_seen) do
  if q.left then
    if redis.call('EXISTS', q.stalled) == 1 then attempt('SREM', q.stalled, unpack(q.left)) end
    trim_events(q)
    if q.was_answered then forget_limited(q) end
  end
end

-- 3. Free deduplication ids, notify parents of what completed, then write each job's end.
for _, owner in ipairs(owners) do end_deduplication(unpack(owner)) end
notify_of_completed(runs)
for i = 1, #runs do
  local run = runs[i]
  end_run(run)
  if run.spent then
    free_unspent(run.q, run.job, tonumber(run.has_begun) or now - run.ran, run.spent)
  end
  if run.is_unbegun then
    refund_limit(run.q, run.ran, args.worker.limiters and args.worker.limiters[run.q.base])
    if run.value then redis.call('HSET', run.job, 'wt', run.value)
    elseif weight_limits(run.q, run.q.limits) then refund_weight(run.q, run.job, run.ran) end
  end
end
write_completed()

for flow, q in pairs(flows) do call_in(q, flow) end
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
return reply{refused = refused, jobs = fetched, again = again, failed_parents = failed_parents, shared = notified_later,
             suspect_in = suspect_in, unknown_flows = unknown_flows, limited_flows = limited_flows}
