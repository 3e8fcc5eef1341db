-- job_state: where a job is now, and what its parents hold of it.
-- @touches waiting-children failed completed delayed prioritized active
-- @use     queue parents

local function state_of(q, id)
  for _, state in ipairs({'waiting-children', 'failed', 'completed', 'delayed', 'prioritized'}) do
    if redis.call('ZSCORE', q.base .. ':' .. state, id) then return state end
  end
  if redis.call('LPOS', q.active, id) then return 'active' end
  return 'waiting'
end

-- A job with its fields, its state and its parents; nil when it is gone.
local function look_at(job)
  local has = redis.call('HMGET', job, 'name', 'fl', 'parentKey', 'parent', 'sh', 'ats', 'priority', 'rt')
  if not has[1] then return nil end
  local q, id = queue_and_id(job)
  return {key = job, q = q, id = id, flow = has[2], first = has[3], is_root = has[2] and not has[3],
          started = has[6], shared = has[5], priority = tonumber(has[7]) or 0, token = has[8], state = state_of(q, id),
          edges = parents_of(job, has[4], has[3], has[5])}
end

-- Where a parent keeps how this child ended; nil when it is gone, or still waits. Of a child with `rdof` that
-- failed nothing is kept: the parent only waits for it no more; nor of one that ended after its parent had (cpof).
local function kept_in(edge, child)
  if redis.call('ZSCORE', edge.key .. ':unsuccessful', child) then return 'unsuccessful' end
  if redis.call('HEXISTS', edge.key .. ':failed', child) == 1 then return 'failed' end
  if redis.call('HEXISTS', edge.key .. ':processed', child) == 1 then return 'processed' end
  if redis.call('EXISTS', edge.key) == 1
      and redis.call('SISMEMBER', edge.key .. ':dependencies', child) == 0 then
    return 'nothing'
  end
end
