-- retention: of the jobs that ended, those go that BullMQ's removeOnComplete and removeOnFail do not keep.
-- @touches completed failed dependencies processed unsuccessful logs flownb:parents
-- @use     queue forget

-- Jobs of flownb's flows stay: they go with their flow, or after it has ended.
local function evict(q, set, id)
  local job = job_key(q, id)
  local has = redis.call('HMGET', job, 'fl', 'parentKey', 'sh')
  if has[1] then return end
  redis.call('ZREM', set, id)
  if has[2] then -- BullMQ: a failure without a policy releases its parent so
    local pending = has[2] .. ':dependencies'
    if redis.call('SREM', pending, job) == 1 and redis.call('SCARD', pending) == 0 then release_softly(has[2]) end
  end
  redis.call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed',
             job .. ':unsuccessful')
  if has[3] then redis.call('DEL', q.base:match('^(.*):[^:]+$') .. ':flownb:parents:' .. job) end
end

-- `keep` is {count, age in ms, limit}, each or none; about 1,000 jobs a call.
local function keep_newest(q, state, keep)
  local set = state == 'completed' and q.completed or q.failed
  if keep.age then
    local old = redis.call('ZREVRANGEBYSCORE', set, int(now - keep.age), '-inf', 'LIMIT', 0, math.min(keep.limit, 1000))
    for _, id in ipairs(old) do evict(q, set, id) end
  end
  if keep.count then
    for _, id in ipairs(redis.call('ZREVRANGE', set, int(keep.count), int(keep.count + 999))) do evict(q, set, id) end
  end
end
