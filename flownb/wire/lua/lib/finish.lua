-- finish: active -> completed, failed, delayed, waiting, prioritized or waiting-children.
-- @touches active stalled lock completed failed events waiting-children
-- @use     types queue enqueue large_values failed_runs

local completed_in = {} -- queue -> {time, id, time, id ...}: jobs that have completed in this call, and are not in the set yet

-- One ZADD a queue, for all that have completed since the last one.
local function write_completed()
  for q, members in pairs(completed_in) do redis.call('ZADD', q.completed, unpack(members)) end
  completed_in = {}
end

-- The beginning of a job that was short is told with its end; and which code has run, where that is known.
local function begun_and_version(run)
  local began = not run.has_begun and int(now - run.ran)
  if began and run.version then return 'processedOn', began, 'cv', run.version end
  if began then return 'processedOn', began end
  if run.version then return 'cv', run.version end
end

local function store_completed(run, made)
  local q, id = run.q, run.id
  if not run.has_begun then emit_active(q, id) end
  redis.call('HSET', run.job, 'atm', int(made), 'returnvalue', run.value, 'finishedOn', now_text, 'ft', run.token,
             begun_and_version(run))
  if run.rows then redis.call('HDEL', run.job, 'part', 'saved', 'rspent') end
  -- A late end: the job was put back meanwhile, perhaps to be failed as stalled.
  if run.from ~= 'active' then redis.call('HDEL', run.job, 'defa') end
  local members = completed_in[q] or {}
  local n = #members
  completed_in[q], members[n + 1], members[n + 2] = members, now_text, id
  if run.retention then write_completed() end -- it counts the set
  emit_completed(q, id, #run.value > LARGE and copy_for_flow(run.value, q, run.flow) or run.value)
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
