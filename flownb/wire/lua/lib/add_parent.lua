-- add_parent: a job that is there already gets one more parent.
-- @touches dependencies processed failed unsuccessful completed flownb:parents paused wait prioritized
-- @use     types queue counts parents large_values enqueue marks needed

local MANY_ROWS = '{"rows":' -- how `bind` of a many-row job begins

-- Note a further parent: its policy, and the flow that counts the job besides the job's own. False when it was noted.
local function share(job, parent, flow)
  redis.call('HSET', job, 'sh', '1')
  return redis.call('HSETNX', further_parents_key(job), parent.key, parent.policy .. ' ' .. flow) == 1
end

-- Its flow is paused, and another one needs the job from now on: where it was set aside, it joins the end of its line. Rows
-- come in their order here, and were set aside in it: the oldest one is at the end of the list.
local function back_in_line(q, job, flow)
  if not flow or not marks_of(q, flow).paused or not is_needed(q, job, flow, 'paused') then return end
  local _, id = queue_and_id(job)
  if redis.call('LREM', q.paused, -1, id) == 0 then return end
  local state = enqueue(q, id, number(field_of(job, 'priority')), 'L')
  if state == 'prioritized' then count_move(q, flow, 'waiting', state) end
end

-- The first parent of `flow` under which the job comes counts the job for this flow. Returns a job that has failed as a
-- child to notify its new parent of, when all is stored.
local function add_parent(q, job, parent, flow, is_first)
  local has = redis.call('HMGET', job, 'parentKey', 'returnvalue', 'finishedOn', 'failedReason', 'fl')
  local is_new = has[1] ~= parent.key
  local ended = has[3] and (has[2] and 'completed' or 'failed')
  if is_new then
    local counts = flow and has[5] ~= flow and is_first
    if share(job, parent, counts and flow or '') and counts then
      count_move(q, flow, nil, ended or 'waiting')
    end
    if not ended then
      list_shared(job, parents_of(job, redis.call('HGET', job, 'parent'), has[1])[1])
      back_in_line(q, job, has[5])
    end
  end
  if ended == 'completed' then
    redis.call('HSET', parent.key .. ':processed', job, copy_for_parent(parent.key, has[2]))
  elseif redis.call('HEXISTS', parent.key .. ':failed', job) == 0
      and not redis.call('ZSCORE', parent.key .. ':unsuccessful', job) then
    redis.call('SADD', parent.key .. ':dependencies', job)
    if ended then
      return {key = job, reason = has[4] or '', links = {{key = parent.key, policy = parent.policy}}}
    end
  end
end

-- The jobs that run the rest of a many-row job's rows, and those of theirs; `found.damaged` is one that cannot be read.
local function find_delegates(job, found)
  local bind = redis.call('HGET', job, 'bind')
  if not bind or bind:sub(1, #MANY_ROWS) ~= MANY_ROWS then return found end
  for n = 1, math.huge do
    local delegate = job .. '-' .. n
    if redis.call('EXISTS', delegate) == 0 then return found end
    if not is_kind(delegate, 'hash') or not is_kind(further_parents_key(delegate), 'hash') then
      found.damaged = delegate
      return found
    end
    found[#found + 1] = delegate
    if find_delegates(delegate, found).damaged then return found end
  end
end

-- Was this job there before the call that stores `flow`? A job that the call itself stored, sent before, was not.
local function is_anothers(job, flow)
  local has = fields_of(job, 'name', 'fl')
  return has[1] and has[2] ~= flow
end

-- BullMQ gives a job one parent, and another only when the first is gone. Jobs of flownb's flows keep theirs: a root
-- with a parent would not be found to be one.
local function may_be_adopted(job, parent)
  local has = redis.call('HMGET', job, 'parentKey', 'fl')
  if has[1] == parent then return true end
  return not has[2] and (not has[1] or redis.call('EXISTS', has[1]) == 0)
end

-- As BullMQ does it: the parent gets a value that is there, and is not told of a failure.
local function adopt(q, id, job, parent)
  if redis.call('ZSCORE', q.completed, id) then
    redis.call('HSET', parent.key .. ':processed', job, redis.call('HGET', job, 'returnvalue') or 'null')
  else
    redis.call('SADD', parent.key .. ':dependencies', job)
  end
  redis.call('HSET', job, 'parentKey', parent.key, 'parent', parent.link)
end
