--- finish_and_fetch: active -> completed, failed, delayed, waiting or waiting-children; then waiting -> active.
-- Many jobs of many queues end and the next ones start, in one call; the last child wakes its parent.
-- A bad outcome spoils only itself: its answer says why it was refused. Sent twice, it changes nothing.
-- @keys    queues
-- @args    now outcomes want worker
-- @returns answers jobs again doomed shared
-- @errors
-- @use     queue counts parents finish needed cancel retention fetch

-- `shared` are jobs that ended here and have more further parents than one call tells: notify_parents is for them.
local MOST_TOLD, NONE = 200, {}
local shared, told = {}, 0

-- The further parents of a job that has ended, as far as they are told in this call.
local function further_parents(a)
  if not a.has[6] then return NONE end
  if not a.further then
    told = told + redis.call('HLEN', further_parents_key(a.job))
    a.is_told_later = told > MOST_TOLD
    a.further = a.is_told_later and NONE or parents_of(a.job, nil, nil, true)
    if a.is_told_later then shared[#shared + 1] = a.job end
  end
  return a.further
end

-- 1. Look at every outcome; nothing is written yet.
local answers, accepted, locks = {}, {}, {}
if #args.outcomes > 0 then
  for i, outcome in ipairs(args.outcomes) do locks[i] = outcome.base .. ':' .. outcome.id .. ':lock' end
  locks = redis.call('MGET', unpack(locks))
end
for i, outcome in ipairs(args.outcomes) do
  local q = queue_at(outcome.base)
  local job = job_key(q, outcome.id)
  local has = redis.call('HMGET', job, 'ats', 'parentKey', 'fl', 'ft', 'atm', 'sh')
  answers[i] = refusal(outcome, job, locks[i], has) or 'done'
  if answers[i] == 'done' then
    local from = leave(q, outcome.id)
    if from then
      accepted[#accepted + 1] = {outcome = outcome, q = q, job = job, has = has, from = from}
    else
      answers[i] = 'stale'
    end
  end
end

-- 2. Free the leases.
local free = {}
for _, a in ipairs(accepted) do
  free[#free + 1] = a.job .. ':lock'
  a.q.left = a.q.left or {}
  table.insert(a.q.left, a.outcome.id)
end
if #free > 0 then redis.call('DEL', unpack(free)) end
for _, q in pairs(queues_seen) do
  if q.left then
    redis.call('SREM', q.stalled, unpack(q.left))
    trim_events(q)
  end
end

-- 3. Tell the parents of completed jobs, each parent once; its `waiting` goes before the child's `completed`.
local families, order = {}, {}
local function join_family(parent, a)
  local family = families[parent]
  if not family then
    family = {children = {}, values = {}}
    families[parent] = family
    order[#order + 1] = parent
  end
  table.insert(family.children, a.job)
  table.insert(family.values, a.outcome.value)
end
for _, a in ipairs(accepted) do
  if a.outcome.kind == 'completed' then
    completing[a.job] = true
    if a.has[2] then join_family(a.has[2], a) end
    for _, edge in ipairs(further_parents(a)) do
      join_family(edge.key, a)
      count_move(a.q, edge.flow, 'waiting', 'completed')
    end
  end
end
for _, parent in ipairs(order) do
  settle_completed(parent, families[parent].children, families[parent].values)
end

-- 4. Write each job's end. What nobody needs any more gets no further attempt.
local function end_for_good(a, made)
  local outcome = a.outcome
  if outcome.kind == 'completed' or outcome.kind == 'failed' and outcome.why ~= 'cancelled' then return false end
  if not is_over(a.q, a.job, a.has[3]) then return false end
  redis.call('HSET', a.job, 'ft', outcome.token)
  if outcome.reason then redis.call('HSET', a.job, 'atm', made, 'stacktrace', outcome.stacktrace) end
  hold_queue(a.q, outcome)
  cancel(a.q, outcome.id, a.from, outcome.reason)
  return true
end
for _, a in ipairs(accepted) do
  local outcome, q, flow = a.outcome, a.q, a.has[3]
  local made, state = (tonumber(a.has[5]) or 0) + 1, nil
  if flow and end_for_good(a, made) then
    flow = nil
  elseif outcome.kind == 'completed' then
    store_completed(q, outcome, a.job, made, flow)
    -- A late end: it was put back meanwhile, perhaps to be failed as stalled.
    if a.from ~= 'active' then redis.call('HDEL', a.job, 'defa') end
    state = 'completed'
  elseif outcome.kind == 'failed' then
    local edges = parents_of(a.job, redis.call('HGET', a.job, 'parent'), a.has[2])
    for _, edge in ipairs(further_parents(a)) do edges[#edges + 1] = edge end
    settle_failed(a.job, outcome.reason, edges)
    for _, edge in ipairs(edges) do count_move(q, edge.flow, 'waiting', 'failed') end
    store_failed(q, outcome, a.job, made)
    if flow then doom(q, flow, a.job) end
    if #doomed > 0 then forget_marks() end
    state = 'failed'
  elseif outcome.kind == 'retry' then
    state = store_retry(q, outcome, a.job, made)
  elseif outcome.kind == 'put_off' then
    state = store_put_off(q, outcome, a.job)
  elseif outcome.kind == 'parked' then
    state = store_parked(q, outcome, a.job)
  else
    hold_queue(q, outcome)
    state = store_returned(q, outcome, a.job)
  end
  count_move(q, flow, a.from, state)
  count_rows(q, flow, outcome.rows)
  if a.has[6] then -- another flow may count a job of one row among rows
    local ended = state == 'completed' or state == 'failed'
    local rows = outcome.rows or state == 'completed' and {1, 0} or state == 'failed' and {0, 1}
    for _, edge in ipairs(ended and further_parents(a) or parents_of(a.job, nil, nil, true)) do
      count_rows(q, edge.flow, rows)
    end
    if a.is_told_later then
      list_told_later(a.job, rows)
    elseif ended then
      redis.call('HDEL', shared_key(a.job), a.job)
    end
  end
  if outcome.keep and not a.has[3] then keep_newest(q, state, outcome.keep) end
  if flow and not a.has[2] and (state == 'completed' or state == 'failed') then
    if state == 'failed' then note_cause(q, flow, a.job) end
    end_flow(q, flow, state)
  end
end

-- 5. Take the next jobs, queue by queue in the caller's order, until there are enough.
local jobs, again = {}, nil
for _, q in ipairs(queues) do
  if #jobs < args.want then
    local before = #jobs
    local wait = take(q, args.want - #jobs, args.worker, jobs)
    if wait and (not again or wait < again) then again = wait end
    if #jobs == before and q.left and redis.call('EXISTS', q.wait, q.active, q.prioritized, q.delayed, q.paused) == 0 then
      emit(q, 'drained')
    end
  end
end

write_counts()
wake_workers()
return reply{answers = answers, jobs = jobs, again = again, doomed = doomed, shared = shared}
