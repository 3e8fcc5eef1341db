-- schedule: nothing -> delayed, waiting or prioritized; the jobs that BullMQ's job schedulers add.
-- @touches repeat delayed prioritized wait id events
-- @use     types queue enqueue lists

local function schedulers_of(q) return q.base .. ':repeat' end

-- When the next job of a scheduler is due (ms), as the sorted set has it; nil for no scheduler.
local function next_due(q, scheduler) return tonumber(attempt('ZSCORE', schedulers_of(q), scheduler)) end

local function run_id(scheduler, due) return 'repeat:' .. scheduler .. ':' .. int(due) end

local function add_run(q, scheduler, due, scheduled_job)
  local id, delay, priority = run_id(scheduler, due), math.max(due - now, 0), number(scheduled_job.priority)
  redis.call('ZADD', schedulers_of(q), int(due), scheduler)
  attempt('INCR', q.id)
  redis.call('HSET', job_key(q, id), 'name', scheduled_job.name, 'data', scheduled_job.data, 'opts', scheduled_job.opts,
             'timestamp', now_text, 'delay', int(delay), 'priority', int(priority), 'rjk', scheduler)
  emit(q, 'added', 'jobId', id, 'name', scheduled_job.name)
  if delay > 0 then
    put_off(q, id, due)
    emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(due))
  else
    enqueue(q, id, priority, 'L')
    emit_and_trim(q, 'waiting', 'jobId', id)
  end
end

-- Has no worker taken the job that is due then?
local function run_waits(q, scheduler, due)
  local id = run_id(scheduler, due)
  return redis.call('ZSCORE', q.delayed, id) or redis.call('ZSCORE', q.prioritized, id)
    or redis.call('LPOS', q.wait, id) or redis.call('LPOS', q.paused, id)
end

-- The job of a scheduler that waits goes, for another one in its place.
local function drop_run(q, scheduler, due)
  local id = run_id(scheduler, due)
  if redis.call('ZREM', q.delayed, id) == 0 and redis.call('ZREM', q.prioritized, id) == 0 then
    remove_from_lists(q, {id})
  end
  redis.call('DEL', job_key(q, id))
end
