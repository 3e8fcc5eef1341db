-- parents: what a child's end means for its parents.
-- @touches dependencies processed failed unsuccessful waiting-children flownb:parents flownb:cancelled flownb:shared
-- @use     queue counts enqueue large_values

-- waiting-children -> waiting, prioritized or delayed; nothing when it is not waiting for children.
local function release(parent)
  local q, id = queue_and_id(parent)
  if redis.call('ZREM', q.waiting_children, id) == 0 then return end
  local has = redis.call('HMGET', parent, 'priority', 'delay', 'fl')
  local delay, state = tonumber(has[2]) or 0, nil
  if delay > 0 then
    local due = now + delay
    redis.call('ZADD', q.delayed, int(due * 4096), id)
    q.has_new_delay, state = true, 'delayed'
    emit(q, 'delayed', 'jobId', id, 'delay', int(due))
  else
    state = enqueue(q, id, tonumber(has[1]) or 0, 'R')
    emit(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
  count_move(q, has[3], 'waiting-children', state)
end

local function release_if_settled(parent)
  if redis.call('SCARD', parent .. ':dependencies') == 0 then release(parent) end
end

local function further_parents_key(job) return job:match('^(.*):[^:]+:[^:]+$') .. ':flownb:parents:' .. job end
local function shared_key(job) return job:match('^(.*):[^:]+:[^:]+$') .. ':flownb:shared' end

-- Shared jobs that have not ended stand in one list, with their first parent: who looks for those that another
-- program's worker ended goes through it. See notify_parents.
local function list_shared(job, first)
  redis.call('HSET', shared_key(job), job, first and (first.policy .. ' ' .. first.key) or ' ')
end

-- It has ended, and its further parents are told in calls that follow; of its rows so many were done, so many failed.
local function list_told_later(job, rows)
  redis.call('HSET', shared_key(job), job, 'told ' .. int(rows[1]) .. ' ' .. int(rows[2]))
end

local POLICIES = {'fpof', 'cpof', 'idof', 'rdof'}
local links = {} -- what siblings hold of their parent is the same text: read once

-- Further parents as they are stored: {key, policy, flow}, where policy is BullMQ's short word or ''.
local function edges_of(stored)
  local edges = {}
  for i = 1, #stored, 2 do
    local policy, flow = stored[i + 1]:match('^(%a*) (%S*)$')
    edges[#edges + 1] = {key = stored[i], policy = policy, flow = flow ~= '' and flow or nil, beside = true}
  end
  return edges
end

-- A job's parents: the first stands in its own hash, further ones of a shared job in a key beside it.
local function parents_of(job, parent_json, parent_key, shared)
  local edges = {}
  if parent_key then
    local edge = {key = parent_key, policy = ''}
    local link = parent_json and links[parent_json]
    if parent_json and not link then
      link = cjson.decode(parent_json)
      links[parent_json] = link
    end
    for _, word in ipairs(link and POLICIES or {}) do
      if link[word] then edge.policy = word end
    end
    edges[1] = edge
  end
  if shared then
    local further = edges_of(redis.call('HGETALL', further_parents_key(job)))
    for _, edge in ipairs(further) do edges[#edges + 1] = edge end
  end
  return edges
end

-- Many children of one parent completed: one look, one removal, one write, one question.
-- `children` is a list of child keys, `values` the JSON texts beside them.
local function settle_completed(parent, children, values)
  local pending = parent .. ':dependencies'
  local awaited = redis.call('SMISMEMBER', pending, unpack(children))
  local gone, results = {}, {}
  for i, child in ipairs(children) do
    if awaited[i] == 1 then
      gone[#gone + 1] = child
      results[#results + 1] = child
      results[#results + 1] = told_to(parent, values[i])
    end
  end
  if #gone == 0 then return end
  redis.call('SREM', pending, unpack(gone))
  redis.call('HSET', parent .. ':processed', unpack(results))
  release_if_settled(parent)
end

-- A flow's first failure that no policy forgave, kept for the one who asks why.
local function note_cause(q, flow, cause)
  if flow then redis.call('HSETNX', flow_key('flow', q, flow), 'cause', cause) end
end

local doomed = {} -- parents that failed in this call while children of theirs were pending

-- Where a flow asks for it, what a failed parent still waits for is not run: nobody needs it any more.
local function doom(q, flow, parent)
  if redis.call('EXISTS', parent .. ':dependencies') == 0 then return end
  local record = flow_key('flow', q, flow)
  if redis.call('HGET', record, 'on_failure') ~= 'cancel' then return end
  local about, id = record:match('^(.*):flow:([^:]+)$')
  redis.call('SADD', about .. ':cancelled', id)
  doomed[#doomed + 1] = parent
end

-- A parent has failed because a child did; its root's end is its flow's.
local function store_doomed(q, id, parent, reason, from, flow, is_root)
  redis.call('HSET', parent, 'failedReason', reason, 'finishedOn', now_text, 'why', 'child')
  redis.call('HDEL', parent, 'defa')
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', reason, 'prev', from)
  count_move(q, flow, from, 'failed')
  doom(q, flow, parent)
  if is_root then end_flow(q, flow, 'failed') end
end

-- waiting-children or delayed -> failed, without a worker of its queue. Returns false when the
-- parent is elsewhere: then it carries `defa`, and the worker that has it or takes it fails it.
-- `fate` is what became of the child, in words.
local function fail_at_once(parent, child, cause, fate)
  local q, id = queue_and_id(parent)
  local has = redis.call('HMGET', parent, 'fl', 'parentKey', 'parent', 'sh', 'name', 'atm')
  if not has[5] then return false end
  local reason, flow = 'child ' .. child .. ' ' .. fate, has[1]
  note_cause(q, flow, cause)
  local from
  if flow and redis.call('ZREM', q.waiting_children, id) == 1 then from = 'waiting-children'
  elseif flow and redis.call('ZREM', q.delayed, id) == 1 then from = 'delayed' end
  if not from then
    if redis.call('ZSCORE', q.failed, id) then return false end
    redis.call('HSET', parent, 'defa', reason)
    -- BullMQ's own flows stay BullMQ's: their parent is failed by the next worker that takes it.
    if not flow then
      if redis.call('ZREM', q.delayed, id) == 1 then
        redis.call('HSET', parent, 'delay', '0')
        redis.call('ZADD', q.waiting_children, now_text, id)
      end
      release(parent)
    end
    return false
  end
  store_doomed(q, id, parent, reason, from, flow, not has[2])
  local edges = parents_of(parent, has[3], has[2], has[4])
  for _, edge in ipairs(edges) do count_move(q, edge.flow, 'waiting', 'failed') end
  return {key = parent, reason = reason, edges = edges}
end

local completing = {} -- jobs that complete in this call

-- A parent in a flow of ours that a failed child let run (cpof) and that has completed: how the others end
-- changes nothing for it, until one of them is retried.
local function went_on_without(parent)
  if completing[parent] then return true end
  local q, id = queue_and_id(parent)
  return redis.call('ZSCORE', q.completed, id) and redis.call('HEXISTS', parent, 'fl') == 1
end

-- A job failed for good: each parent's own policy says what that means; failures climb to the root.
-- `cause` is the job to blame where it is another one, `fate` what became of this one where it did not just fail.
local function settle_failed(job, reason, edges, cause, fate)
  local failed = {{key = job, reason = reason, edges = edges, fate = fate}}
  while #failed > 0 do
    local child = table.remove(failed)
    for _, edge in ipairs(child.edges) do
      local pending = edge.key .. ':dependencies'
      if edge.policy ~= '' and redis.call('SREM', pending, child.key) == 1 then
        if edge.policy == 'fpof' and not went_on_without(edge.key) then
          redis.call('ZADD', edge.key .. ':unsuccessful', now_text, child.key)
          failed[#failed + 1] = fail_at_once(edge.key, child.key, cause or job, child.fate or 'failed') or nil
        elseif edge.policy == 'cpof' then
          redis.call('HSET', edge.key .. ':failed', child.key, child.reason)
          release(edge.key)
        elseif edge.policy == 'idof' then
          redis.call('HSET', edge.key .. ':failed', child.key, child.reason)
          release_if_settled(edge.key)
        else
          release_if_settled(edge.key)
        end
      end
    end
  end
end
