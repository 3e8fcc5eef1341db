-- fail_parent: waiting-children or delayed -> failed, without a worker of the parent's queue.
-- @touches failed waiting-children delayed dependencies flownb:cancelled flownb:flow
-- @use     types queue counts end_flow parents release

local failed_parents = {} -- those that failed in this call while children of theirs were pending

-- Where the flow asks for it (`on_failure`), nobody needs the pending children of a failed parent any more.
local function cancel_pending(q, flow, parent)
  if redis.call('EXISTS', parent .. ':dependencies') == 0 then return end
  local record = record_key(q, flow)
  if not record or redis.call('HGET', record, 'on_failure') ~= 'cancel' then return end
  local home, id = record:match('^(.*):flow:([^:]+)$')
  attempt('SADD', home .. ':cancelled', id)
  failed_parents[#failed_parents + 1] = parent
end

-- The parent has left its state `from`. The end of a root is the end of its flow.
local function store_failed_parent(q, id, parent, reason, from, flow, is_root)
  redis.call('HSET', parent, 'failedReason', reason, 'finishedOn', now_text, 'why', 'child')
  redis.call('HDEL', parent, 'defa')
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', reason, 'prev', from)
  count_move(q, flow, from, 'failed')
  cancel_pending(q, flow, parent)
  if is_root then end_flow(q, flow, 'failed') end
end

-- A parent that cannot be failed here carries `defa`: the worker that has it or takes it fails it.
-- BullMQ's own flows (no `flow`) stay BullMQ's: such a parent goes into line for that worker.
local function defer_failure(q, id, parent, reason, flow)
  if redis.call('ZSCORE', q.failed, id) then return end
  redis.call('HSET', parent, 'defa', reason)
  if flow then return end
  if redis.call('ZREM', q.delayed, id) == 1 then
    redis.call('HSET', parent, 'delay', '0')
    redis.call('ZADD', q.waiting_children, now_text, id)
  end
  release(parent)
end

-- Returns the parent as a failed job whose own parents are to be notified; nothing where its failure is deferred.
-- `fate` says what became of the child, `cause` which job is to blame.
local function fail_parent(parent, child, cause, fate)
  local q, id = queue_and_id(parent)
  local has = redis.call('HMGET', parent, 'name', 'fl', 'parentKey', 'parent', 'sh')
  if not has[1] then return end
  local reason, flow, from = 'child ' .. child .. ' ' .. fate, has[2], nil
  note_cause(q, flow, cause)
  if flow and redis.call('ZREM', q.waiting_children, id) == 1 then from = 'waiting-children'
  elseif flow and redis.call('ZREM', q.delayed, id) == 1 then from = 'delayed' end
  if not from then return defer_failure(q, id, parent, reason, flow) end
  store_failed_parent(q, id, parent, reason, from, flow, not has[3])
  local links = parents_of(parent, has[4], has[3], has[5])
  for _, link in ipairs(links) do count_move(q, link.flow, 'waiting', 'failed') end
  return {key = parent, reason = reason, links = links}
end
