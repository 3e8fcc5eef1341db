-- detach: a shared job stays when some of its parents go; its next parent becomes the first, perhaps of another flow.
-- @touches flownb:parents flownb:flow flownb:shared
-- @use     types counts parents leave

-- A flow that the job leaves must not blame it any more. Until `top`, the job that is removed, is gone as well, that one
-- is to blame; then see forget_child.
local function blame_top_instead(job, flow, top)
  if not top or field_of(top, 'fl') ~= flow then return end
  local record = flow_key('flow', job.q, flow)
  if field_of(record, 'cause') == job.key then redis.call('HSET', record, 'cause', top) end
end

-- Drop the links to parents that go. Returns the links that are left, and the flows that count the job no more.
local function drop_parents(job, going, further)
  local left, still_counted, flows_left = {}, {}, {}
  for _, link in ipairs(job.links) do
    if going[link.key] then
      count_move(job.q, link.flow, counted_as(job), nil)
      attempt('HDEL', further, link.key)
    else
      left[#left + 1] = link
      if link.flow then still_counted[link.flow] = true end
    end
  end
  for _, link in ipairs(job.links) do
    if going[link.key] and link.flow and not still_counted[link.flow] then flows_left[link.flow] = true end
  end
  return left, flows_left
end

-- Does a parent that is left belong to the job's own flow? And which other flow, of a parent that is left, could it join?
local function flows_of_parents(job, links, flow_gone)
  local has_own, next_flow = false, nil
  for _, link in ipairs(links) do
    local flow = redis.call('HGET', link.key, 'fl')
    has_own = has_own or flow and flow == job.flow
    if flow and flow ~= flow_gone then next_flow = next_flow or flow end
  end
  return has_own, next_flow
end

-- The job leaves its flow for `flow`, which counts it as its own now and no more as a further flow.
local function change_flow(job, flow, links, further)
  count_move(job.q, job.flow, job.state, nil)
  for _, link in ipairs(links) do
    if link.flow and link.flow == flow then
      count_move(job.q, link.flow, counted_as(job), nil)
      redis.call('HSET', further, link.key, link.policy .. ' ')
    end
  end
  count_move(job.q, flow, nil, job.state)
  if flow then redis.call('HSET', job.key, 'fl', flow) else redis.call('HDEL', job.key, 'fl') end
end

-- The flow that counted the job through this parent goes. The parent belongs to another flow by now: that one counts the
-- job, unless it does so already.
local function count_for_parents_flow(job, link, links, further)
  local flow = redis.call('HGET', link.key, 'fl')
  if flow == redis.call('HGET', job.key, 'fl') then flow = false end
  for _, other in ipairs(links) do
    if flow and other.flow == flow then flow = false end
  end
  count_move(job.q, link.flow, counted_as(job), nil)
  count_move(job.q, flow, nil, counted_as(job))
  link.flow = flow or nil
  redis.call('HSET', further, link.key, link.policy .. ' ' .. (flow or ''))
end

local function make_first_parent(job, link, further)
  redis.call('HSET', job.key, 'parentKey', link.key, 'parent', stored_link(link))
  attempt('HDEL', further, link.key)
end

-- A job whose flow goes, or which has no parent left in its own flow, joins the flow of a parent that is left.
local function detach(job, going, flow_gone, top)
  local further = further_parents_key(job.key)
  local links, flows_left = drop_parents(job, going, further)
  for flow in pairs(flows_left) do blame_top_instead(job, flow, top) end
  local has_own, next_flow = flows_of_parents(job, links, flow_gone)
  local leaves_flow = job.flow and (job.flow == flow_gone or not has_own and not job.is_root)
  if leaves_flow then
    blame_top_instead(job, job.flow, top)
    change_flow(job, next_flow, links, further)
  end
  for _, link in ipairs(links) do
    if link.flow and link.flow == flow_gone then count_for_parents_flow(job, link, links, further) end
  end
  local first, loses_first = links[1], job.first_parent and going[job.first_parent]
  if first and (loses_first or not job.first_parent and leaves_flow) then
    make_first_parent(job, first, further)
  elseif loses_first then
    redis.call('HDEL', job.key, 'parentKey', 'parent')
  end
  if redis.call('EXISTS', further) == 0 then
    redis.call('HDEL', job.key, 'sh')
    attempt('HDEL', shared_key(job.key), job.key)
  elseif field_of(shared_key(job.key), job.key) then
    list_shared(job.key, (job.first_parent or leaves_flow) and first)
  end
end
