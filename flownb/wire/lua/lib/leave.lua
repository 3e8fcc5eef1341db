-- leave: a job leaves the state it is in, to be ended without having run or to be removed.
-- @touches completed failed delayed prioritized waiting-children active stalled flownb:shared
-- @use     types counts parents lists deduplication

-- False when the job runs or has ended. Where `waiting` is given (queue -> ids), a waiting job is only noted there, to
-- leave its list together with others.
local function leave_state(job, waiting)
  if job.state == 'active' or job.state == 'completed' or job.state == 'failed' then return false end
  if job.state ~= 'waiting' then
    redis.call('ZREM', job.q.base .. ':' .. job.state, job.id)
  elseif waiting then
    waiting[job.q] = waiting[job.q] or {}
    table.insert(waiting[job.q], job.id)
  else
    remove_from_lists(job.q, {job.id})
  end
  return true
end

-- As what a further flow counts a shared job of another flow.
local function counted_as(job)
  return (job.state == 'completed' or job.state == 'failed') and job.state or 'waiting'
end

-- The job is removed from its state, whatever that is, and from all counts. A waiting job stays in its list: those are
-- removed together. Returns BullMQ's word for the state.
local function forget_job(job)
  if job.state == 'active' then
    redis.call('LREM', job.q.active, 1, job.id)
  elseif job.state ~= 'waiting' then
    redis.call('ZREM', job.q.base .. ':' .. job.state, job.id)
  end
  attempt('SREM', job.q.stalled, job.id)
  if job.deduplication_id then drop_deduplication(job.q, job.id, job.deduplication_id) end
  if job.is_shared then attempt('HDEL', shared_key(job.key), job.key) end
  count_move(job.q, job.flow, job.state, nil)
  for _, link in ipairs(job.links) do count_move(job.q, link.flow, counted_as(job), nil) end
  return job.state == 'waiting' and 'wait' or job.state
end
