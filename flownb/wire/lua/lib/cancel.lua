-- cancel: any state -> failed, of a job that nobody needs any more; parents that wait only for such jobs go with it.
-- @touches failed waiting-children dependencies unsuccessful flownb:shared
-- @use     types queue counts parents notify

local climbed = {} -- parents that were looked at in this call, each once

-- A parent keeps of a cancelled child what it keeps of any failed one, but does not fail because of it.
local function keep_cancelled_child(link, job, reason)
  if link.policy == '' or redis.call('SREM', link.key .. ':dependencies', job) == 0 then return end
  if link.policy == 'fpof' then
    if not went_on_without(link.key) then redis.call('ZADD', link.key .. ':unsuccessful', now_text, job) end
  elseif link.policy ~= 'rdof' then
    redis.call('HSET', link.key .. ':failed', job, reason)
  end
end

local function store_cancelled(q, id, job, from, reason, flow)
  redis.call('HSET', job, 'failedReason', reason, 'finishedOn', now_text, 'why', 'cancelled')
  redis.call('HDEL', job, 'defa')
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', reason, 'prev', from)
  count_move(q, flow, from, 'failed')
end

-- The job has left its state `from` already. `flow` and `links` are the job's, where they are known.
local function cancel(q, id, from, reason, flow, links)
  local left = {{q = q, id = id, from = from, reason = reason, flow = flow, links = links}}
  while #left > 0 do
    local next_one = table.remove(left)
    local job = job_key(next_one.q, next_one.id)
    if not next_one.links then
      local has = redis.call('HMGET', job, 'fl', 'parentKey', 'parent', 'sh')
      next_one.flow, next_one.links = has[1], parents_of(job, has[3], has[2], has[4])
    end
    -- A job that had failed, and that another program put back, keeps the reason that was told then.
    local told = next_one.reason or field_of(job, 'said') or 'cancelled'
    store_cancelled(next_one.q, next_one.id, job, next_one.from, told, next_one.flow)
    for _, link in ipairs(next_one.links) do
      count_move(next_one.q, link.flow, 'waiting', 'failed')
      keep_cancelled_child(link, job, told)
      if link.is_further then attempt('HDEL', shared_key(job), job) end -- it has ended
      if not climbed[link.key] then
        climbed[link.key] = true
        local above, above_id = queue_and_id(link.key)
        if redis.call('ZREM', above.waiting_children, above_id) == 1 then
          left[#left + 1] = {q = above, id = above_id, from = 'waiting-children', reason = 'cancelled'}
        end
      end
    end
  end
end
