-- finish: active -> completed, failed, delayed, waiting, prioritized or waiting-children.
-- @touches active stalled lock completed failed events waiting-children
-- @use     types queue enqueue large_values failed_runs
-- @row     outcome base id token attempts_started kind value version ran reason stacktrace attempts why delay lifo hold eager retention rows printed keep_logs spent

-- May this worker say how the job ended? It may when it holds the lock, or when its lock ran out and nobody has started
-- the job since: `ats` grows with every start. Returns a word for "no". `has` begins with {ats, parentKey, fl, ft};
-- `may_be_held` says that children keep one or other of this call's jobs from completing.
local function refusal(outcome, job, lock, has, may_be_held)
  if not has[1] then return 'missing' end
  if has[4] == outcome.token then return 'repeated' end
  if outcome.kind == 'begun' and lock ~= outcome.token then return 'stale' end
  if lock and lock ~= outcome.token then return 'stale' end
  if not lock and tonumber(has[1]) ~= outcome.attempts_started then return 'stale' end
  if outcome.kind == 'completed' and may_be_held or outcome.kind == 'parked' then
    if redis.call('EXISTS', job .. ':unsuccessful') == 1 then return 'failed-children' end
    -- In flownb's flows a parent that a failed child let run (cpof) does not wait for the others.
    local may_go_on = outcome.kind == 'parked' or has[3] and redis.call('EXISTS', job .. ':failed') == 1
    if not may_go_on and redis.call('EXISTS', job .. ':dependencies') == 1 then return 'pending-children' end
  end
end

-- The job leaves `active`; or, when its lease had run out, the list or set to which it was put back.
local function leave_active(q, id)
  if redis.call('LREM', q.active, -1, id) == 1 then return 'active' end
  if redis.call('LREM', q.wait, -1, id) == 1 or redis.call('LREM', q.paused, 1, id) == 1 then return 'waiting' end
  if redis.call('ZREM', q.prioritized, id) == 1 then return 'prioritized' end
end

local completed_in = {} -- queue -> {time, id, time, id ...}: jobs that have completed in this call, and are not in the set yet

-- One ZADD a queue, for all that have completed since the last one.
local function write_completed()
  for q, members in pairs(completed_in) do redis.call('ZADD', q.completed, unpack(members)) end
  completed_in = {}
end

local function note_completed(q, id)
  local members = completed_in[q] or {}
  completed_in[q] = members
  members[#members + 1], members[#members + 2] = now_text, id
end

local function store_completed(run, made)
  local q, id = run.q, run.id
  local end_of_job = {'atm', int(made), 'returnvalue', run.value, 'finishedOn', now_text, 'ft', run.token}
  if run.version then end_of_job[9], end_of_job[10] = 'cv', run.version end
  if not run.has_begun then -- a job that was short: its beginning is told with its end
    emit(q, 'active', 'jobId', id, 'prev', 'waiting')
    local n = #end_of_job
    end_of_job[n + 1], end_of_job[n + 2] = 'processedOn', run.ran and int(now - run.ran) or now_text
  end
  redis.call('HSET', run.job, unpack(end_of_job))
  if run.rows then redis.call('HDEL', run.job, 'part', 'saved', 'rspent') end
  note_completed(q, id)
  if run.retention then write_completed() end -- it counts the set
  emit(q, 'completed', 'jobId', id, 'returnvalue', copy_for_flow(run.value, q, run.flow), 'prev', 'active')
end

local function store_failed(run, made)
  local q, job = run.q, run.job
  redis.call('HSET', job, 'atm', made, 'failedReason', run.reason, 'stacktrace', run.stacktrace,
             'finishedOn', now_text, 'ft', run.token)
  if run.flow then redis.call('HSET', job, 'said', run.reason) end
  if run.why then redis.call('HSET', job, 'why', run.why) end
  if run.version then redis.call('HSET', job, 'cv', run.version) end
  redis.call('HDEL', job, 'defa')
  redis.call('ZADD', q.failed, now_text, run.id)
  emit(q, 'failed', 'jobId', run.id, 'failedReason', run.reason, 'prev', 'active')
  if made >= run.attempts then
    emit(q, 'retries-exhausted', 'jobId', run.id, 'attemptsMade', made)
  end
end

-- The hash, not the options, says how urgent a job is by now.
local function priority_of(job) return number(redis.call('HGET', job, 'priority')) end

-- Another attempt: at once, behind all that wait, or after `delay` ms.
local function store_retry(run, made)
  local q, job = run.q, run.job
  note_failed_run(job, now_text)
  redis.call('HSET', job, 'atm', made, 'failedReason', run.reason, 'stacktrace', run.stacktrace,
             'ft', run.token)
  if run.delay > 0 then
    redis.call('HSET', job, 'delay', int(run.delay))
    emit_and_trim(q, 'delayed', 'jobId', run.id, 'delay', int(now + run.delay))
    return put_off(q, run.id, now + run.delay)
  end
  emit_and_trim(q, 'waiting', 'jobId', run.id, 'prev', 'active')
  return enqueue(q, run.id, priority_of(job), run.lifo and 'R' or 'L')
end

-- The job goes back before all that wait, no attempt charged.
local function store_returned(run)
  local q, job = run.q, run.job
  redis.call('HSET', job, 'ft', run.token)
  emit_and_trim(q, 'waiting', 'jobId', run.id, 'prev', 'active')
  return enqueue_first(q, run.id, priority_of(job))
end

-- The job has not begun, and goes back as if nobody had taken it: this start is not counted, and an earlier run that lost
-- its lease may still end, as nobody has begun the job since.
local function store_unbegun(run)
  local q, job = run.q, run.job
  if run.from == 'active' then redis.call('HINCRBY', job, 'ats', -1) end
  redis.call('HSET', job, 'ft', run.token)
  if run.has_begun then
    redis.call('HDEL', job, 'processedOn')
    emit_and_trim(q, 'waiting', 'jobId', run.id, 'prev', 'active')
  end
  return enqueue_first(q, run.id, priority_of(job))
end

-- The job waits for children that it has added, no attempt charged. When these have ended already, or one with `cpof`
-- (`eager`) has failed, the job runs again at once.
local function store_parked(run)
  local q, job = run.q, run.job
  local done = redis.call('EXISTS', job .. ':dependencies') == 0
  for _, child in ipairs(run.eager) do
    done = done or attempt('HEXISTS', job .. ':failed', child) == 1
  end
  if done then return store_returned(run) end
  redis.call('HSET', job, 'ft', run.token)
  redis.call('ZADD', q.waiting_children, now_text, run.id)
  emit(q, 'waiting-children', 'jobId', run.id, 'prev', 'active')
  return 'waiting-children'
end

-- No function of this worker has the job's name: another worker may know it later. No attempt is charged.
local function store_put_off(run)
  local q, job = run.q, run.job
  redis.call('HSET', job, 'delay', int(run.delay), 'ft', run.token)
  emit_and_trim(q, 'delayed', 'jobId', run.id, 'delay', int(now + run.delay))
  return put_off(q, run.id, now + run.delay)
end
