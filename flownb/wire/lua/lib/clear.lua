-- clear: jobs go as BullMQ's drain, clean and obliterate remove them, which tell nobody.
-- @touches wait paused active delayed prioritized completed failed waiting-children dependencies lock logs stalled repeat
-- @use     types queue counts lists parents deduplication forget_child large_values delete_job

local SETS = {delayed = true, prioritized = true, completed = true, failed = true}

-- Does more belong to this job of a flow than itself? It is the flow's root, is shared or has children.
local function is_large(key, prefix, has)
  return not has[2] or has[3]
    or redis.call('EXISTS', key .. ':dependencies', key .. ':processed', key .. ':failed', key .. ':unsuccessful') > 0
    or (attempt('HLEN', prefix .. ':flownb:children:' .. key) or 0) > 0
end

local function read_to_clear(q, id, prefix)
  local key = job_key(q, id)
  local has = fields_of(key, 'fl', 'parentKey', 'sh', 'rjk', 'deid', 'finishedOn', 'processedOn', 'timestamp')
  return {q = q, id = id, key = key, flow = has[1], parent = has[2] and is_sound_job(has[2]) and has[2], scheduler = has[4],
          deduplication_id = has[5], finished = number(has[6]), began = number(has[7]), added = number(has[8]),
          is_large = has[1] and is_large(key, prefix, has)}
end

-- Since when is the job what it is, as BullMQ's clean asks?
local function age_of(job, state)
  if state == 'prioritized' then return job.added end
  if state == 'delayed' then return job.began > 0 and job.began or job.added end
  return job.finished > 0 and job.finished or job.began > 0 and job.began or job.added
end

-- The run that a job scheduler has added last is removed with the scheduler alone.
local function is_pending_run(job)
  local due = job.scheduler and attempt('ZSCORE', job.q.base .. ':repeat', job.scheduler)
  return due and job.id == 'repeat:' .. job.scheduler .. ':' .. due
end

local function may_be_cleared(job, state, before, whole)
  if before and age_of(job, state) > before then return false end
  if whole then return true end
  if state == 'active' and redis.call('EXISTS', job.key .. ':lock') == 1 then return false end
  return not is_pending_run(job)
end

-- Would the job's parent, of a flow of flownb's and in the same queue, wait for nobody any more? `leaving` go as well.
local function is_last_in_queue(job, leaving)
  local above, id = queue_and_id(job.parent)
  if above ~= job.q or not redis.call('ZSCORE', above.waiting_children, id) then return false end
  if redis.call('HEXISTS', job.parent, 'fl') == 0 then return false end
  local pending = job.parent .. ':dependencies'
  return redis.call('SISMEMBER', pending, job.key) == 1 and redis.call('SCARD', pending) - leaving <= 1
end

-- Returns those of the jobs that were there.
local function leave_together(q, state, jobs)
  local ids, found, left = {}, {}, {}
  for i, job in ipairs(jobs) do ids[i] = job.id end
  if state == 'waiting' and #ids > 0 then found = remove_from_lists(q, ids) end
  for _, job in ipairs(jobs) do
    local was_there = found[job.id] or SETS[state] and redis.call('ZREM', q[state], job.id) == 1
      or state == 'active' and redis.call('LREM', q.active, 1, job.id) == 1
    if was_there then left[#left + 1] = job end
  end
  return left
end

-- A parent of another queue waits at the head of its line, and no event tells. One of the same queue goes too, and so on
-- upwards.
local function leave_parent(q, parent, child)
  while parent and redis.call('SREM', parent .. ':dependencies', child) == 1 do
    local above, id = queue_and_id(parent)
    if redis.call('SCARD', parent .. ':dependencies') > 0
        or redis.call('ZREM', above.waiting_children, id) == 0 then return end
    local has = fields_of(parent, 'parentKey', 'fl')
    if above ~= q or has[2] then
      redis.call('RPUSH', above.wait, id)
      above.has_new_work = true
      return count_move(above, has[2], 'waiting-children', 'waiting')
    end
    delete_job(parent)
    child, parent = parent, has[1] and is_sound_job(has[1]) and has[1]
  end
end

-- The job has left its state. `softly`: events tell of it, and of its parent.
local function clear(job, state, softly)
  attempt('SREM', job.q.stalled, job.id)
  if job.deduplication_id then drop_deduplication(job.q, job.id, job.deduplication_id) end
  count_move(job.q, job.flow, state == 'active' and job.began == 0 and 'waiting' or state, nil) -- taken ahead
  if job.flow and job.parent then leave_value(job.parent, job.key) end
  delete_job(job.key)
  if not job.parent then return end
  if job.flow or softly then forget_child(job.parent, job.key) else leave_parent(job.q, job.parent, job.key) end
end

-- active -> waiting. `ats` grows, so that the run cannot end the job late.
local function stop_run(key)
  local q, id = queue_and_id(key)
  if redis.call('LREM', q.active, 1, id) == 0 then return end
  redis.call('DEL', key .. ':lock')
  redis.call('HINCRBY', key, 'ats', 1)
  redis.call('RPUSH', q.wait, id)
  local has = redis.call('HMGET', key, 'fl', 'processedOn')
  count_move(q, has[1], has[2] and 'active' or 'waiting', 'waiting')
end
