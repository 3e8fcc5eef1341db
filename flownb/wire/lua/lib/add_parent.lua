-- add_parent: a job that is there already comes under one more parent.
-- @touches dependencies processed failed unsuccessful completed flownb:parents
-- @use     counts parents large_values

-- Note a further parent of a shared job: its policy, and the flow that counts the job a second time.
local function share(q, job, parent, in_flow)
  local beside = q.base:match('^(.*):[^:]+$') .. ':flownb:parents:' .. job
  redis.call('HSET', job, 'sh', '1')
  return redis.call('HSETNX', beside, parent[1], parent[3] .. ' ' .. in_flow) == 1
end

-- The first parent of `flow` under which the job comes counts it for this flow. What has ended badly is
-- noted in `settled`: its new parent is told when all is stored.
local function attach(q, id, job, parent, flow, is_first, settled)
  local has = redis.call('HMGET', job, 'parentKey', 'returnvalue', 'finishedOn', 'failedReason', 'fl')
  local mine = has[1] == parent[1]
  local ended = has[3] and (has[2] and 'completed' or 'failed')
  if has[5] ~= flow and flow then
    if not mine and share(q, job, parent, is_first and flow or '') and is_first then
      count_move(q, flow, nil, ended or 'waiting')
    end
  elseif not mine then
    share(q, job, parent, '')
  end
  if not mine and not ended then
    list_shared(job, parents_of(job, redis.call('HGET', job, 'parent'), has[1])[1])
  end
  if ended == 'completed' then
    redis.call('HSET', parent[1] .. ':processed', job, told_to(parent[1], has[2]))
  elseif redis.call('HEXISTS', parent[1] .. ':failed', job) == 0
      and not redis.call('ZSCORE', parent[1] .. ':unsuccessful', job) then
    redis.call('SADD', parent[1] .. ':dependencies', job)
    if ended then
      settled[#settled + 1] = {job, has[4] or '', {{key = parent[1], policy = parent[3]}}}
    end
  end
end

-- Was this job there before the call that stores `flow`? What that call itself stored, when it came before, was not.
local function is_anothers(job, flow)
  local has = redis.call('HMGET', job, 'name', 'fl')
  return has[1] and has[2] ~= flow
end

-- BullMQ gives a job one parent; another one takes its place only when the first is gone. The jobs of
-- flownb's flows keep theirs: a root with a parent would not be found to be one.
local function may_be_adopted(job, parent)
  local has = redis.call('HMGET', job, 'parentKey', 'fl')
  if has[1] == parent then return true end
  return not has[2] and (not has[1] or redis.call('EXISTS', has[1]) == 0)
end

-- As BullMQ does it: a value that is there is handed over, a failure is not.
local function adopt(q, id, job, parent)
  if redis.call('ZSCORE', q.completed, id) then
    redis.call('HSET', parent[1] .. ':processed', job, redis.call('HGET', job, 'returnvalue') or 'null')
  else
    redis.call('SADD', parent[1] .. ':dependencies', job)
  end
  redis.call('HSET', job, 'parentKey', parent[1], 'parent', parent[2])
end
