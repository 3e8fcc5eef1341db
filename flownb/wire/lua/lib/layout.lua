-- layout: waiting or prioritized -> delayed, of jobs that another flownb stored in a layout that this worker does not know.
-- @touches flownb:flow delayed events
-- @use     types queue counts enqueue

local LEFT_ALONE_MS = 5000 -- as a worker does with a job of which it knows no function

local is_flow_unknown, unknown_flows = {}, {} -- flow -> is its layout unknown? Asked once a flow and call
local records_read = {} -- flow -> what workers need of its record: {layout, brakes, concurrency}; read once a flow and call

local function read_of_record(q, flow)
  local has = records_read[flow]
  if not has then
    has = fields_of(flow_key('flow', q, flow), 'layout', 'brakes', 'concurrency')
    records_read[flow] = has
  end
  return has
end

-- Has another flownb stored this flow in a layout above `newest`? A flow without `layout` has the first one.
local function has_unknown_layout(q, flow, newest)
  if is_flow_unknown[flow] == nil then
    local layout = read_of_record(q, flow)[1]
    is_flow_unknown[flow] = layout and not (layout:find('^%d+$') and tonumber(layout) <= newest) or false
    if is_flow_unknown[flow] then unknown_flows[#unknown_flows + 1] = flow end
  end
  return is_flow_unknown[flow]
end

-- The job has left `from`. A newer worker may take it later; no attempt is charged, and nothing is known of its parents.
local function leave_alone(q, id, job, flow, from)
  local due = now + LEFT_ALONE_MS
  redis.call('HSET', job, 'delay', int(LEFT_ALONE_MS))
  emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(due))
  count_move(q, flow, from, put_off(q, id, due))
end
