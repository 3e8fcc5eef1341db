-- marks: which flows are paused, or have jobs that nobody needs any more; nearly always there are none.
-- @touches flownb:paused flownb:cancelled
-- @use     types queue counts

local UNMARKED = {}
-- For each mark: parent's key -> does a way up through this parent lead to somebody who needs the job? See `needed`.
local ways_up = {paused = {}, cancelled = {}}

-- The set of the flows that have this mark, and the id of the flow in it.
local function marked_in(mark, q, flow)
  local home, id = flow_key(mark, q, flow):match('^(.*):([^:]+)$')
  return home, id
end

-- {paused = , cancelled = } of a flow. While no flow is marked, one EXISTS a queue and call is all this costs.
local function marks_of(q, flow)
  if not q.marks then
    local home = prefix_of(q) .. ':flownb:'
    q.marks = {}
    q.unmarked = redis.call('EXISTS', home .. 'paused', home .. 'cancelled') == 0
  end
  if q.unmarked and not flow:find(':', 1, true) then return UNMARKED end
  local marks = q.marks[flow]
  if not marks then
    marks = {}
    for _, mark in ipairs({'paused', 'cancelled'}) do
      marks[mark] = attempt('SISMEMBER', marked_in(mark, q, flow)) == 1
    end
    q.marks[flow] = marks
  end
  return marks
end

-- Is it neither paused nor cancelled, nor is any other flow?
local function is_unmarked(q, flow) return marks_of(q, flow) == UNMARKED end

-- Has somebody cancelled this flow, or only what nobody needs any more of it?
local function was_cancelled(q, flow)
  return marks_of(q, flow).cancelled and field_of(flow_key('flow', q, flow), 'ended') == 'cancelled'
end

local function forget_marks()
  for _, q in pairs(queues_seen) do q.marks = nil end
  ways_up = {paused = {}, cancelled = {}}
end
