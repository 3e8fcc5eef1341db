-- enqueue: put a job into wait, prioritized or delayed; delayed -> waiting or prioritized, of jobs that are due.
-- @touches wait prioritized pc delayed events
-- @use     types queue counts

-- The due time in the upper bits, a sequence number in the lower twelve: jobs due in the same
-- millisecond keep the order in which they came.
local function delay_score(q, due)
  local low, high = due * 4096, (due + 1) * 4096 - 1
  local top = redis.call('ZREVRANGEBYSCORE', q.delayed, int(high), int(low), 'WITHSCORES', 'LIMIT', 0, 1)
  if not top[2] then return low end
  return math.min(tonumber(top[2]) + 1, high)
end

local function priority_score(q, priority)
  return priority * 4294967296 + number(attempt('INCR', q.pc)) % 4294967296
end

-- 'L' joins the end of the list `wait`, 'R' goes to its head. Returns the state that the job has now.
local function enqueue(q, id, priority, side)
  q.has_new_work = true
  if priority > 0 then
    redis.call('ZADD', q.prioritized, int(priority_score(q, priority)), id)
    return 'prioritized'
  end
  redis.call(side .. 'PUSH', q.wait, id)
  return 'waiting'
end

-- Before all that wait; a prioritized job before all of its priority.
local function enqueue_first(q, id, priority)
  if priority == 0 then return enqueue(q, id, 0, 'R') end
  q.has_new_work = true
  redis.call('ZADD', q.prioritized, int(priority * 4294967296), id)
  return 'prioritized'
end

local function put_off(q, id, due)
  q.has_new_delay = true
  redis.call('ZADD', q.delayed, int(delay_score(q, due)), id)
  return 'delayed'
end

-- delayed -> waiting or prioritized, of jobs that are due; also while the queue is paused.
local function promote_due(q)
  local due = redis.call('ZRANGEBYSCORE', q.delayed, 0, int((now + 1) * 4096 - 1), 'LIMIT', 0, 1000)
  if #due == 0 then return end
  redis.call('ZREM', q.delayed, unpack(due))
  for _, id in ipairs(due) do
    local job = job_key(q, id)
    local has = fields_of(job, 'priority', 'fl')
    local state = enqueue(q, id, number(has[1]), 'L')
    count_move(q, has[2], 'delayed', state)
    emit(q, 'waiting', 'jobId', id, 'prev', 'delayed')
    attempt('HSET', job, 'delay', '0')
  end
end
