-- release: waiting-children -> waiting, prioritized or delayed; a parent whose children have ended goes on.
-- @touches dependencies waiting-children delayed wait
-- @use     types queue counts enqueue

-- Does nothing when the parent is not waiting for children.
local function release(parent)
  local q, id = queue_and_id(parent)
  if redis.call('ZREM', q.waiting_children, id) == 0 then return end
  local has = redis.call('HMGET', parent, 'priority', 'delay', 'fl')
  local delay, state = number(has[2]), nil
  if delay > 0 then
    local due = now + delay
    redis.call('ZADD', q.delayed, int(due * 4096), id)
    q.has_new_delay, state = true, 'delayed'
    emit(q, 'delayed', 'jobId', id, 'delay', int(due))
  else
    state = enqueue(q, id, number(has[1]), 'R')
    emit(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
  count_move(q, has[3], 'waiting-children', state)
end

local function release_if_done(parent)
  if redis.call('SCARD', parent .. ':dependencies') == 0 then release(parent) end
end

-- waiting-children -> waiting. As BullMQ does it when a child is removed: the parent goes to the head of `wait` at once,
-- whatever its delay or priority.
local function release_at_once(parent)
  local q, id = queue_and_id(parent)
  if redis.call('ZREM', q.waiting_children, id) == 0 then return end
  redis.call('RPUSH', q.wait, id)
  q.has_new_work = true
  emit(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  count_move(q, redis.call('HGET', parent, 'fl'), 'waiting-children', 'waiting')
end
