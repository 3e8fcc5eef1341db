-- forget: a job leaves every place and every key; its parents, its flow and a list it stood in forget it.
-- @touches completed failed delayed prioritized waiting-children wait paused stalled flownb:parents flownb:flow flownb:shared
-- @use     queue counts parents

local PIECE, FEW = 500, 3 -- ids of a list that are read at once; and that are looked for one by one

-- What a further flow counts a shared job of another flow as.
local function counted_as(at)
  return (at.state == 'completed' or at.state == 'failed') and at.state or 'waiting'
end

-- Where in a list the first or the last of these stands, if that is the nearer: most lines are worked off at an end.
local function place_of(list, ids)
  for _, way in ipairs({{1, PIECE}, {-1, PIECE}, {1, 0}}) do
    local first = redis.call('LPOS', list, ids[1], 'RANK', way[1], 'MAXLEN', way[2])
    local last = redis.call('LPOS', list, ids[#ids], 'RANK', way[1], 'MAXLEN', way[2])
    if first or last then return math.min(first or last, last or first) end
  end
end

-- Take ids out of a list from place `at` on and note them in `found`: to its end, or as long as some stand there.
local function strike(list, at, wanted, found, to_end)
  local from_tail, struck, more = at > redis.call('LLEN', list) / 2, 0, true
  while more do
    local piece, here = redis.call('LRANGE', list, at, at + PIECE - 1), 0
    for i, id in ipairs(piece) do
      if wanted[id] and not found[id] then
        redis.call('LSET', list, at + i - 1, '')
        found[id] = true
        here = here + 1
      end
    end
    at, struck = at + #piece, struck + here
    more = #piece == PIECE and (to_end or here > 0)
  end
  if struck > 0 then redis.call('LREM', list, from_tail and -struck or struck, '') end
  return struck
end

-- Out of the line, or out of what was put aside of it. Returns a set of those that stood there. Those of one call
-- mostly stand together; the whole of a list is gone through only when many do not.
local function take_off(q, ids)
  local wanted, found, left, lists = {}, {}, #ids, {q.wait, q.paused}
  for _, id in ipairs(ids) do wanted[id] = true end
  for _, list in ipairs(lists) do
    local at = left > FEW and place_of(list, ids)
    if at then left = left - strike(list, at, wanted, found, false) end
  end
  for _, list in ipairs(lists) do
    if left > FEW then left = left - strike(list, 0, wanted, found, true) end
    for _, id in ipairs(left > 0 and left <= FEW and ids or {}) do
      if not found[id] and redis.call('LREM', list, 1, id) == 1 then
        found[id] = true
        left = left - 1
      end
    end
  end
  return found
end

-- A job that is to be ended without having run leaves its place; false when it runs or has ended. Where `line`
-- is given, those that wait are noted there, to be taken off together.
local function leave_line(at, line)
  if at.state == 'active' or at.state == 'completed' or at.state == 'failed' then return false end
  if at.state ~= 'waiting' then
    redis.call('ZREM', at.q.base .. ':' .. at.state, at.id)
  elseif line then
    line[at.q] = line[at.q] or {}
    table.insert(line[at.q], at.id)
  else
    take_off(at.q, {at.id})
  end
  return true
end

-- Forget one job, but for its place in `wait`: those are taken off together. Returns BullMQ's word for its place.
local function forget_job(at)
  if at.state == 'active' then
    redis.call('LREM', at.q.active, 1, at.id)
  elseif at.state ~= 'waiting' then
    redis.call('ZREM', at.q.base .. ':' .. at.state, at.id)
  end
  redis.call('SREM', at.q.stalled, at.id)
  if at.shared then redis.call('HDEL', shared_key(at.key), at.key) end
  count_move(at.q, at.flow, at.state, nil)
  for _, edge in ipairs(at.edges) do count_move(at.q, edge.flow, counted_as(at), nil) end
  return at.state == 'waiting' and 'wait' or at.state
end

-- waiting-children -> waiting, softly: at once and to the head of the line, as BullMQ does when a child is removed.
local function release_softly(parent)
  local q, id = queue_and_id(parent)
  if redis.call('ZREM', q.waiting_children, id) == 0 then return end
  redis.call('RPUSH', q.wait, id)
  q.has_new_work = true
  emit(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  count_move(q, redis.call('HGET', parent, 'fl'), 'waiting-children', 'waiting')
end

-- A parent waits no more for a job that was removed, and does not fail because of it; its value it keeps.
local function let_go(parent, child)
  if redis.call('EXISTS', parent) == 0 then return end
  redis.call('ZREM', parent .. ':unsuccessful', child)
  local pending = parent .. ':dependencies'
  if redis.call('SREM', pending, child) == 1 and redis.call('SCARD', pending) == 0 then release_softly(parent) end
  local q, id = queue_and_id(parent)
  local flow = redis.call('HGET', parent, 'fl')
  local record = flow and flow_key('flow', q, flow)
  local cause = record and redis.call('HGET', record, 'cause')
  if cause and redis.call('EXISTS', cause) == 0 then -- the first failure is gone: what it failed stands for it
    if redis.call('ZSCORE', q.failed, id) then
      redis.call('HSET', record, 'cause', parent)
    elseif redis.call('HEXISTS', record, 'ended') == 1 then
      redis.call('HSET', record, 'cause', redis.call('HGET', record, 'root'))
    else
      redis.call('HDEL', record, 'cause')
    end
  end
end

-- The flow that counted a job through this parent goes, and the parent belongs to another one now: that counts it.
local function count_again(at, edge, beside, edges)
  local flow = redis.call('HGET', edge.key, 'fl')
  if flow == redis.call('HGET', at.key, 'fl') then flow = false end
  for _, other in ipairs(edges) do
    if flow and other.flow == flow then flow = false end
  end
  count_move(at.q, edge.flow, counted_as(at), nil)
  count_move(at.q, flow, nil, counted_as(at))
  edge.flow = flow or nil
  redis.call('HSET', beside, edge.key, edge.policy .. ' ' .. (flow or ''))
end

-- A flow that a job leaves blames it no more: the job that goes is to blame, until that has gone. See let_go.
local function blame_no_more(at, flow)
  local top = args.top
  if not top or redis.call('HGET', top, 'fl') ~= flow then return end
  local record = flow_key('flow', at.q, flow)
  if redis.call('HGET', record, 'cause') == at.key then redis.call('HSET', record, 'cause', top) end
end

-- A shared job stays when some of its parents go: the next one becomes its first. A job whose flow goes, or
-- has no parent left in its own, belongs to the flow of a parent that is left.
local function detach(at, parents_gone, flow_gone)
  local prefix = at.q.base:match('^(.*):[^:]+$')
  local beside, left, own, next_flow = prefix .. ':flownb:parents:' .. at.key, {}, nil, nil
  local counted = {} -- flow -> false when it counts the job no more
  for _, edge in ipairs(at.edges) do
    if parents_gone[edge.key] then
      count_move(at.q, edge.flow, counted_as(at), nil)
      redis.call('HDEL', beside, edge.key)
      if edge.flow then counted[edge.flow] = counted[edge.flow] or false end
    else
      left[#left + 1] = edge
      if edge.flow then counted[edge.flow] = true end
      local flow = redis.call('HGET', edge.key, 'fl')
      if flow and flow == at.flow then own = flow end
      if flow and flow ~= flow_gone then next_flow = next_flow or flow end
    end
  end
  for flow, still in pairs(counted) do
    if not still then blame_no_more(at, flow) end
  end
  local homeless = at.flow and (at.flow == flow_gone or not own and not at.is_root)
  if homeless then
    blame_no_more(at, at.flow)
    count_move(at.q, at.flow, at.state, nil)
    for _, edge in ipairs(left) do
      if edge.flow and edge.flow == next_flow then
        count_move(at.q, edge.flow, counted_as(at), nil)
        redis.call('HSET', beside, edge.key, edge.policy .. ' ')
      end
    end
    count_move(at.q, next_flow, nil, at.state)
    if next_flow then redis.call('HSET', at.key, 'fl', next_flow) else redis.call('HDEL', at.key, 'fl') end
  end
  for _, edge in ipairs(left) do
    if edge.flow and edge.flow == flow_gone then count_again(at, edge, beside, left) end
  end
  local first = left[1]
  if first and (at.first and parents_gone[at.first] or not at.first and homeless) then
    local base, id = first.key:match('^(.*):([^:]+)$')
    local link = {id = id, queueKey = base}
    if first.policy ~= '' then link[first.policy] = true end
    redis.call('HSET', at.key, 'parentKey', first.key, 'parent', cjson.encode(link))
    redis.call('HDEL', beside, first.key)
  elseif not first and at.first and parents_gone[at.first] then
    redis.call('HDEL', at.key, 'parentKey', 'parent')
  end
  local listed = shared_key(at.key)
  if redis.call('EXISTS', beside) == 0 then
    redis.call('HDEL', at.key, 'sh')
    redis.call('HDEL', listed, at.key)
  elseif redis.call('HEXISTS', listed, at.key) == 1 then
    list_shared(at.key, (at.first or homeless) and first)
  end
end
