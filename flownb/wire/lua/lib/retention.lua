-- retention: jobs that ended are removed where BullMQ's removeOnComplete and removeOnFail do not keep them.
-- @touches completed failed dependencies processed unsuccessful logs flownb:parents
-- @use     types queue parents release
-- @row     retention newest age limit

local MOST_REMOVED = 1000 -- jobs a call

-- Jobs of flownb's flows stay: they are removed with their flow, or after it has ended.
local function remove_ended(q, set, id)
  local job = job_key(q, id)
  local has = fields_of(job, 'fl', 'parentKey', 'sh')
  if has[1] then return end
  redis.call('ZREM', set, id)
  if has[2] and is_sound_job(has[2]) then -- as in BullMQ, a failure without a policy releases its parent now
    local pending = has[2] .. ':dependencies'
    if redis.call('SREM', pending, job) == 1 and redis.call('SCARD', pending) == 0 then release_at_once(has[2]) end
  end
  redis.call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed',
             job .. ':unsuccessful')
  if has[3] then redis.call('DEL', further_parents_key(job)) end
end

-- A job of which none is kept goes alone: what others of its queue asked for is theirs.
local function apply_retention(q, state, id, packed)
  local set, retention = state == 'completed' and q.completed or q.failed, retention_of(packed)
  if retention.newest == 0 then return remove_ended(q, set, id) end
  if retention.age then
    local oldest, most = int(now - retention.age), math.min(retention.limit, MOST_REMOVED)
    local ids = redis.call('ZREVRANGEBYSCORE', set, oldest, '-inf', 'LIMIT', 0, most)
    for _, id in ipairs(ids) do remove_ended(q, set, id) end
  end
  if retention.newest then
    local ids = redis.call('ZREVRANGE', set, int(retention.newest), int(retention.newest + MOST_REMOVED - 1))
    for _, id in ipairs(ids) do remove_ended(q, set, id) end
  end
end
