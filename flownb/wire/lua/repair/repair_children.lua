--- repair_children: what a parent waits for or holds is what has become of its children.
-- waiting-children -> waiting, prioritized, delayed or failed, of a parent that waits for children that have ended, are
-- gone, or for none at all. A child that is gone is let go as if a person had removed it. A child that runs on or has
-- completed, and that a parent lost sight of, is awaited again, or its value given. Sent twice, it changes nothing.
-- @keys    queues
-- @args    now pairs parents
-- @returns
-- @errors
-- @use     queue counts parents job_state forget large_values

-- `pairs` is a list of {parent, child}.

local function edge_to(parent, edges)
  for _, edge in ipairs(edges) do
    if edge.key == parent then return edge end
  end
end

-- A parent waits for a child that has ended, or is gone. One that failed without a policy it waits for rightly.
local function settle(parent, child, has, edge, ended)
  if not has[1] or (not edge and has[5] == 'missing') then
    let_go(parent, child)
  elseif ended == 'completed' then
    settle_completed(parent, {child}, {has[3] or 'null'})
  elseif ended and edge and edge.policy ~= '' then
    settle_failed(child, has[4] or '', {edge})
  else
    return
  end
  if edge and edge.beside and ended then
    count_move(queue_and_id(child), edge.flow, 'waiting', ended)
    redis.call('HDEL', shared_key(child), child)
  end
end

-- It does not wait for the child, and holds nothing of it.
local function find_again(parent, child, has, ended)
  local above, id = queue_and_id(parent)
  if not has[2] and redis.call('ZSCORE', above.waiting_children, id) then
    redis.call('SADD', parent .. ':dependencies', child)
  elseif ended == 'completed' and redis.call('HEXISTS', parent, 'finishedOn') == 0 then
    redis.call('HSETNX', parent .. ':processed', child, told_to(parent, has[3] or 'null'))
  end
end

for _, pair in ipairs(args.pairs) do
  local parent, child = pair[1], pair[2]
  local q, id = queue_and_id(child)
  local has = redis.call('HMGET', child, 'name', 'finishedOn', 'returnvalue', 'failedReason', 'why', 'parentKey', 'parent', 'sh')
  if redis.call('HEXISTS', child, 'data') == 0 then has[1] = false end
  local edge = has[1] and edge_to(parent, parents_of(child, has[7], has[6], has[8]))
  local ended = has[2] and ended_as(q, id)
  if redis.call('SISMEMBER', parent .. ':dependencies', child) == 1 then
    settle(parent, child, has, edge, ended)
  elseif edge and kept_in(edge, child) == 'nothing' then
    find_again(parent, child, has, ended)
  end
end

-- Those that wait for nothing: a child that failed them fails them now, else they go on.
for _, parent in ipairs(args.parents) do
  local q, id = queue_and_id(parent)
  local pending = parent .. ':dependencies'
  if redis.call('ZSCORE', q.waiting_children, id) and redis.call('EXISTS', pending) == 0 then
    local child = redis.call('ZRANGE', parent .. ':unsuccessful', 0, 0)[1]
    if child then
      redis.call('ZREM', parent .. ':unsuccessful', child)
      redis.call('SADD', pending, child)
      settle_failed(child, redis.call('HGET', child, 'failedReason') or '', {{key = parent, policy = 'fpof'}})
    else
      release(parent)
    end
  end
end
write_counts()
wake_workers()
return reply{}
