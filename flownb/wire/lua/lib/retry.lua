-- retry: failed or completed -> waiting-children; an ancestor waits again for a child that runs again.
-- @touches waiting-children completed failed delayed wait prioritized dependencies processed unsuccessful flownb:flow flownb:tidy
-- @use     queue counts job_state needed failed_runs

local revived = {queue = {}, queued = {}, causes = {}}

-- Remember a flow whose `cause` may have mended; `blame` is a parent that another failed child holds down.
local function review_cause(q, flow, blame)
  if not flow then return end
  local record = flow_key('flow', q, flow)
  revived.causes[record] = blame or revived.causes[record] or false
end

-- The parents take back what they keep of this job, and wait for it again.
local function take_back(at)
  for _, edge in ipairs(at.edges) do
    local place = kept_in(edge, at.key)
    if place == 'unsuccessful' then
      redis.call('ZREM', edge.key .. ':unsuccessful', at.key)
    elseif place == 'failed' then
      redis.call('HDEL', edge.key .. ':failed', at.key)
    elseif place == 'processed' then
      redis.call('HDEL', edge.key .. ':processed', at.key)
    end
    if place then
      redis.call('SADD', edge.key .. ':dependencies', at.key)
      -- More calls follow: a parent of the same flow waits for the last one, and so does all above it.
      if args.seal and (redis.call('HGET', edge.key, 'fl') or nil) == args.flow then
        redis.call('SADD', edge.key .. ':dependencies', args.seal)
      end
      if not revived.queued[edge.key] then
        revived.queued[edge.key] = true
        table.insert(revived.queue, edge.key)
      end
    end
    count_move(at.q, edge.flow, at.state, 'waiting')
    review_cause(at.q, edge.flow)
  end
end

-- A many-row job keeps in `part` what its rows have come to, but for the places in `rows`: those are open again.
local function keep_rows(at)
  local value = redis.call('HGET', at.key, 'returnvalue')
  if value then
    local open = ',"open":[' .. table.concat(at.rows, ',') .. ']}'
    redis.call('HSET', at.key, 'part', value:sub(1, -2) .. open)
  end
  count_rows(at.q, at.flow, {0, -#at.rows})
end

-- A job that had ended has not: what it left is gone, its attempts start anew. `ats` never goes down:
-- it tells a late worker that others came after it. The logs and the tracebacks stay, as BullMQ's do.
local function forget_end(at)
  if at.rows then keep_rows(at) end
  if at.state == 'failed' then keep_run(at.key, redis.call('HGET', at.key, 'finishedOn')) end
  local rows = at.rows and {0, -#at.rows} or at.state == 'failed' and {0, -1} or {-1, 0}
  for _, edge in ipairs(at.edges) do count_rows(at.q, edge.flow, rows) end
  redis.call('ZREM', at.state == 'failed' and at.q.failed or at.q.completed, at.id)
  redis.call('HDEL', at.key, 'finishedOn', 'processedOn', 'failedReason', 'returnvalue', 'why', 'defa', 'stc')
  redis.call('HSET', at.key, 'atm', '0')
  if at.is_root then
    local record = flow_key('flow', at.q, at.flow)
    redis.call('HDEL', record, 'ended', 'finished', 'cause')
    look_later(record, 60000)
  end
  if at.shared then list_shared(at.key, at.edges[1] and at.edges[1].key == at.first and at.edges[1]) end
  review_cause(at.q, at.flow)
  take_back(at)
end

-- waiting, prioritized or delayed -> waiting-children, of a parent that was about to run on what it had.
-- `ats` grows, so that a worker which lost its lease before cannot end it late.
local function out_of_line(at)
  if at.state == 'delayed' then redis.call('ZREM', at.q.delayed, at.id)
  elseif at.state == 'prioritized' then redis.call('ZREM', at.q.prioritized, at.id)
  elseif redis.call('LREM', at.q.wait, -1, at.id) == 0 then redis.call('LREM', at.q.paused, 1, at.id) end
  redis.call('HDEL', at.key, 'defa')
  if at.started then redis.call('HINCRBY', at.key, 'ats', 1) end
end

local function await_children(at)
  redis.call('ZADD', at.q.waiting_children, now_text, at.id)
  emit(at.q, 'waiting-children', 'jobId', at.id, 'prev', at.state)
  count_move(at.q, at.flow, at.state, 'waiting-children')
end

-- A parent in line that was to be cancelled with a child of its own: the cancel is taken back, the child has failed.
local function doom_in_line(at)
  if at.state == 'waiting' or at.state == 'prioritized' or at.state == 'delayed' then
    local child = redis.call('ZRANGE', at.key .. ':unsuccessful', 0, 0)[1]
    redis.call('HSETNX', at.key, 'defa', 'child ' .. child .. ' failed')
  end
end

-- Parents that wait again, from those of the retried jobs up to the roots. A parent that another failed
-- child holds down stays as it is until that one is retried too.
local function revive_parents()
  while #revived.queue > 0 do
    local parent = table.remove(revived.queue, 1)
    revived.queued[parent] = nil
    local at = look_at(parent)
    if at then
      if redis.call('EXISTS', at.key .. ':unsuccessful') == 1 then
        review_cause(at.q, at.flow, at.key)
        doom_in_line(at)
      elseif at.state ~= 'waiting-children' and at.state ~= 'active' then
        if at.state == 'failed' or at.state == 'completed' then forget_end(at) else out_of_line(at) end
        await_children(at)
        review_cause(at.q, at.flow)
      end
    end
  end
end

-- Jobs of this flow may run again.
local function unmark(q, flow)
  if flow and marks_of(q, flow).cancelled then
    local flows, id = marked_in('cancelled', q, flow)
    redis.call('SREM', flows, id)
    forget_marks()
  end
end

-- A cancelled flow is as far as its root is.
local function reopen(q, flow)
  unmark(q, flow)
  local record = flow_key('flow', q, flow)
  local has = redis.call('HMGET', record, 'ended', 'root')
  if has[1] ~= 'cancelled' then return end
  local root = redis.call('HMGET', has[2], 'finishedOn', 'returnvalue', 'why')
  if root[3] == 'cancelled' then return end -- it runs again with its children
  if root[1] then
    redis.call('HSET', record, 'ended', root[2] and 'completed' or 'failed', 'finished', root[1])
    review_cause(q, flow)
  else
    redis.call('HDEL', record, 'ended', 'finished')
    look_later(record, 60000)
  end
end

local function has_failed(job)
  local q, id = queue_and_id(job)
  return redis.call('ZSCORE', q.failed, id)
end

-- A cause that is no failed job any more is none; the one that is left takes its place. A flow that stays
-- failed has one always.
local function write_causes()
  for record, blame in pairs(revived.causes) do
    local has = redis.call('HMGET', record, 'cause', 'ended', 'root')
    local cause, failed = has[1], has[2] == 'failed'
    local held = blame or failed and has[3]
    if cause and not has_failed(cause) or failed and not cause then
      if held then
        redis.call('HSET', record, 'cause', first_failure(held))
      else
        redis.call('HDEL', record, 'cause')
      end
    end
  end
end
