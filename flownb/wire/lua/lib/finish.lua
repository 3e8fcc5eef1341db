-- finish: active -> completed, failed, delayed, waiting, prioritized or waiting-children.
-- @touches active stalled lock completed failed events waiting-children
-- @use     types queue enqueue large_values failed_runs
-- @row     outcome base id token attempts_started kind value reason stacktrace attempts why delay lifo hold eager retention rows version ran printed keep_logs spent

-- May this worker say how the job ended? It may when it holds the lock, or when its lock ran out and nobody has started
-- the job since: `ats` grows with every start. Returns a word for "no". `has` begins with {ats, parentKey, fl, ft}.
local function refusal(outcome, job, lock, has)
  if not has[1] then return 'missing' end
  if has[4] == outcome.token then return 'repeated' end
  if outcome.kind == 'begun' and lock ~= outcome.token then return 'stale' end
  if lock and lock ~= outcome.token then return 'stale' end
  if not lock and tonumber(has[1]) ~= outcome.attempts_started then return 'stale' end
  if outcome.kind == 'completed' then
    local pending, failed = job .. ':dependencies', job .. ':unsuccessful'
    if redis.call('EXISTS', pending, failed) > 0 then
      if redis.call('EXISTS', failed) == 1 then return 'failed-children' end
      -- In flownb's flows a parent that a failed child let run (cpof) does not wait for the others.
      if not (has[3] and redis.call('EXISTS', job .. ':failed') == 1) then return 'pending-children' end
    end
  elseif outcome.kind == 'parked' and redis.call('EXISTS', job .. ':unsuccessful') == 1 then
    return 'failed-children'
  end
end

-- The job leaves `active`; or, when its lease had run out, the list or set to which it was put back.
local function leave_active(q, id)
  if redis.call('LREM', q.active, -1, id) == 1 then return 'active' end
  if redis.call('LREM', q.wait, -1, id) == 1 or redis.call('LREM', q.paused, 1, id) == 1 then return 'waiting' end
  if redis.call('ZREM', q.prioritized, id) == 1 then return 'prioritized' end
end

local function store_completed(q, outcome, job, made, flow, has_begun)
  local end_of_job = {'atm', made, 'returnvalue', outcome.value, 'finishedOn', now_text, 'ft', outcome.token}
  if outcome.version then end_of_job[9], end_of_job[10] = 'cv', outcome.version end
  if not has_begun then -- a job that was short: its beginning is told with its end
    emit(q, 'active', 'jobId', outcome.id, 'prev', 'waiting')
    end_of_job[#end_of_job + 1], end_of_job[#end_of_job + 2] = 'processedOn', outcome.ran and int(now - outcome.ran) or now_text
  end
  redis.call('HSET', job, unpack(end_of_job))
  if outcome.rows then redis.call('HDEL', job, 'part', 'saved', 'rspent') end
  redis.call('ZADD', q.completed, now_text, outcome.id)
  emit(q, 'completed', 'jobId', outcome.id, 'returnvalue', copy_for_flow(outcome.value, q, flow), 'prev', 'active')
end

local function store_failed(q, outcome, job, made, flow)
  redis.call('HSET', job, 'atm', made, 'failedReason', outcome.reason, 'stacktrace', outcome.stacktrace,
             'finishedOn', now_text, 'ft', outcome.token)
  if flow then redis.call('HSET', job, 'said', outcome.reason) end
  if outcome.why then redis.call('HSET', job, 'why', outcome.why) end
  if outcome.version then redis.call('HSET', job, 'cv', outcome.version) end
  redis.call('HDEL', job, 'defa')
  redis.call('ZADD', q.failed, now_text, outcome.id)
  emit(q, 'failed', 'jobId', outcome.id, 'failedReason', outcome.reason, 'prev', 'active')
  if made >= outcome.attempts then
    emit(q, 'retries-exhausted', 'jobId', outcome.id, 'attemptsMade', made)
  end
end

-- The hash, not the options, says how urgent a job is by now.
local function priority_of(job) return number(redis.call('HGET', job, 'priority')) end

-- Another attempt: at once, behind all that wait, or after `delay` ms.
local function store_retry(q, outcome, job, made)
  note_failed_run(job, now_text)
  redis.call('HSET', job, 'atm', made, 'failedReason', outcome.reason, 'stacktrace', outcome.stacktrace,
             'ft', outcome.token)
  if outcome.delay > 0 then
    redis.call('HSET', job, 'delay', int(outcome.delay))
    emit_and_trim(q, 'delayed', 'jobId', outcome.id, 'delay', int(now + outcome.delay))
    return put_off(q, outcome.id, now + outcome.delay)
  end
  emit_and_trim(q, 'waiting', 'jobId', outcome.id, 'prev', 'active')
  return enqueue(q, outcome.id, priority_of(job), outcome.lifo and 'R' or 'L')
end

-- The job goes back before all that wait, no attempt charged.
local function store_returned(q, outcome, job)
  redis.call('HSET', job, 'ft', outcome.token)
  emit_and_trim(q, 'waiting', 'jobId', outcome.id, 'prev', 'active')
  return enqueue_first(q, outcome.id, priority_of(job))
end

-- The job has not begun, and goes back as if nobody had taken it: this start is not counted, and an earlier run that lost
-- its lease may still end, as nobody has begun the job since.
local function store_unbegun(q, outcome, job, has_begun, from)
  if from == 'active' then redis.call('HINCRBY', job, 'ats', -1) end
  redis.call('HSET', job, 'ft', outcome.token)
  if has_begun then
    redis.call('HDEL', job, 'processedOn')
    emit_and_trim(q, 'waiting', 'jobId', outcome.id, 'prev', 'active')
  end
  return enqueue_first(q, outcome.id, priority_of(job))
end

-- The job waits for children that it has added, no attempt charged. When these have ended already, or one with `cpof`
-- (`eager`) has failed, the job runs again at once.
local function store_parked(q, outcome, job)
  local done = redis.call('EXISTS', job .. ':dependencies') == 0
  for _, child in ipairs(outcome.eager) do
    done = done or attempt('HEXISTS', job .. ':failed', child) == 1
  end
  if done then return store_returned(q, outcome, job) end
  redis.call('HSET', job, 'ft', outcome.token)
  redis.call('ZADD', q.waiting_children, now_text, outcome.id)
  emit(q, 'waiting-children', 'jobId', outcome.id, 'prev', 'active')
  return 'waiting-children'
end

-- No function of this worker has the job's name: another worker may know it later. No attempt is charged.
local function store_put_off(q, outcome, job)
  redis.call('HSET', job, 'delay', int(outcome.delay), 'ft', outcome.token)
  emit_and_trim(q, 'delayed', 'jobId', outcome.id, 'delay', int(now + outcome.delay))
  return put_off(q, outcome.id, now + outcome.delay)
end
