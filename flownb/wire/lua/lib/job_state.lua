-- job_state: which state a job is in, and what its parents hold of it.
-- @touches waiting-children failed completed delayed prioritized active
-- @use     types queue parents

local function state_of(q, id)
  for _, state in ipairs({'waiting-children', 'failed', 'completed', 'delayed', 'prioritized'}) do
    if redis.call('ZSCORE', q.base .. ':' .. state, id) then return state end
  end
  if redis.call('LPOS', q.active, id) then return 'active' end
  return 'waiting'
end

-- A job with its fields, its state and its parents; nil when the job is gone, or not sound, but for one that is to go as
-- well as it can (`as_it_is`). Its queue is sound.
local function read_job(key, as_it_is)
  if not is_sound_job(key) and not as_it_is then return nil end
  local has = fields_of(key, 'name', 'fl', 'parentKey', 'parent', 'sh', 'ats', 'priority', 'rt', 'deid')
  if not has[1] and is_kind(key, 'hash') then return nil end
  local q, id = queue_and_id(key)
  return {key = key, q = q, id = id, flow = has[2], first_parent = has[3], is_root = has[2] and not has[3],
          attempts_started = has[6], is_shared = has[5], priority = number(has[7]), retry_token = has[8], deduplication_id = has[9],
          state = state_of(q, id), links = parents_of(key, has[4], has[3], has[5])}
end

-- In which of its keys a parent holds how this child ended; nil when the parent is gone, or waits for the child. Of a
-- child with `rdof` that failed, and of one that ended after its parent had (cpof), the parent holds 'nothing'.
local function held_in(link, child)
  if redis.call('ZSCORE', link.key .. ':unsuccessful', child) then return 'unsuccessful' end
  if redis.call('HEXISTS', link.key .. ':failed', child) == 1 then return 'failed' end
  if redis.call('HEXISTS', link.key .. ':processed', child) == 1 then return 'processed' end
  if redis.call('EXISTS', link.key) == 1
      and redis.call('SISMEMBER', link.key .. ':dependencies', child) == 0 then
    return 'nothing'
  end
end
