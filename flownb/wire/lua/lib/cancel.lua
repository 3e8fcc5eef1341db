-- cancel: any state -> failed, of a job that nobody needs any more; parents that wait only for such jobs go with it.
-- @touches failed waiting-children dependencies unsuccessful flownb:shared
-- @use     queue counts parents needed

local climbed = {} -- parents that were looked at in this call, each once

-- What a parent keeps of a cancelled child is what it keeps of any failed one, but it does not fail because of it.
local function tell_parent(edge, job, reason)
  if edge.policy == '' or redis.call('SREM', edge.key .. ':dependencies', job) == 0 then return end
  if edge.policy == 'fpof' then
    if not went_on_without(edge.key) then redis.call('ZADD', edge.key .. ':unsuccessful', now_text, job) end
  elseif edge.policy ~= 'rdof' then
    redis.call('HSET', edge.key .. ':failed', job, reason)
  end
end

-- The job has left its place `from` already. `flow` and `edges` are the job's, where they are known.
local function cancel(q, id, from, reason, flow, edges)
  local line = {{q = q, id = id, from = from, reason = reason or 'cancelled', flow = flow, edges = edges}}
  while #line > 0 do
    local at = table.remove(line)
    local job = job_key(at.q, at.id)
    if not at.edges then
      local has = redis.call('HMGET', job, 'fl', 'parentKey', 'parent', 'sh')
      at.flow, at.edges = has[1], parents_of(job, has[3], has[2], has[4])
    end
    redis.call('HSET', job, 'failedReason', at.reason, 'finishedOn', now_text, 'why', 'cancelled')
    redis.call('HDEL', job, 'defa')
    redis.call('ZADD', at.q.failed, now_text, at.id)
    emit(at.q, 'failed', 'jobId', at.id, 'failedReason', at.reason, 'prev', at.from)
    count_move(at.q, at.flow, at.from, 'failed')
    for _, edge in ipairs(at.edges) do
      count_move(at.q, edge.flow, 'waiting', 'failed')
      tell_parent(edge, job, at.reason)
      if edge.beside then redis.call('HDEL', shared_key(job), job) end -- it has ended
      if not climbed[edge.key] then
        climbed[edge.key] = true
        local above, above_id = queue_and_id(edge.key)
        if redis.call('ZREM', above.waiting_children, above_id) == 1 then
          line[#line + 1] = {q = above, id = above_id, from = 'waiting-children', reason = 'cancelled'}
        end
      end
    end
  end
end

-- Nobody needs this job, and it must not run (again).
local function is_over(q, job, flow, edges)
  return flow and marks_of(q, flow).cancelled and not is_needed(q, job, flow, 'cancelled', edges)
end
