--- repair_children: what a parent waits for or holds is what has become of its children.
-- waiting-children -> waiting, prioritized, delayed or failed, of a parent that waits for children that have ended, are
-- gone, or for none at all. A child that is gone is forgotten as if a person had removed it. A child that runs on or has
-- completed, and that a parent lost sight of, is awaited again, or its value given. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now pairs parents
-- @returns
-- @errors
-- @use     types queue counts parents release notify job_state forget_child large_values

-- `pairs` is a list of {parent, child}.

local function link_to(parent, links)
  for _, link in ipairs(links) do
    if link.key == parent then return link end
  end
end

-- A parent waits for a child that has ended, or is gone. For one that failed without a policy it waits rightly.
local function stop_waiting(parent, child, has, link, ended)
  if not has[1] or (not link and has[5] == 'missing') then
    forget_child(parent, child)
  elseif ended == 'completed' then
    notify_completed(parent, {child}, {has[3] or 'null'})
  elseif ended and link and link.policy ~= '' then
    notify_failed(child, has[4] or '', {link})
  else
    return
  end
  if link and link.is_further and ended then
    count_move(queue_and_id(child), link.flow, 'waiting', ended)
    attempt('HDEL', shared_key(child), child)
  end
end

-- The parent does not wait for the child, and holds nothing of it.
local function give_or_await(parent, child, has, ended)
  local above, id = queue_and_id(parent)
  if not has[2] and redis.call('ZSCORE', above.waiting_children, id) then
    redis.call('SADD', parent .. ':dependencies', child)
  elseif ended == 'completed' and redis.call('HEXISTS', parent, 'finishedOn') == 0 then
    redis.call('HSETNX', parent .. ':processed', child, copy_for_parent(parent, has[3] or 'null'))
  end
end

for _, pair in ipairs(args.pairs) do
  local parent, child = pair[1], pair[2]
  local q, id = queue_and_id(child)
  local has = fields_of(child, 'name', 'finishedOn', 'returnvalue', 'failedReason', 'why', 'parentKey', 'parent', 'sh')
  if not field_of(child, 'data') then has[1] = false end
  local is_repairable = is_sound_job(parent) and is_kind(child, 'hash')
  local link = has[1] and link_to(parent, parents_of(child, has[7], has[6], has[8]))
  local ended = has[2] and ended_as(q, id)
  if not is_repairable then
    -- it is left as it is
  elseif redis.call('SISMEMBER', parent .. ':dependencies', child) == 1 then
    stop_waiting(parent, child, has, link, ended)
  elseif link and held_in(link, child) == 'nothing' then
    give_or_await(parent, child, has, ended)
  end
end

-- Parents that wait for no child: a child that failed one fails it now; without such a child the parent goes on.
for _, parent in ipairs(args.parents) do
  local q, id = queue_and_id(parent)
  local pending = parent .. ':dependencies'
  if is_sound_job(parent) and redis.call('ZSCORE', q.waiting_children, id) and redis.call('EXISTS', pending) == 0 then
    local child = redis.call('ZRANGE', parent .. ':unsuccessful', 0, 0)[1]
    if child then
      redis.call('ZREM', parent .. ':unsuccessful', child)
      redis.call('SADD', pending, child)
      notify_failed(child, field_of(child, 'failedReason') or '', {{key = parent, policy = 'fpof'}})
    else
      release(parent)
    end
  end
end
write_counts()
wake_workers()
return reply{}
