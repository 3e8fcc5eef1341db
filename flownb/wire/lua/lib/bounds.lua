-- bounds: how many jobs of a flow may run at a time, where its record says so; those beyond wait aside, so that other flows
-- of the queue go on.
-- @touches flownb:flow flownb:counts flownb:aside paused wait prioritized
-- @use     types queue counts enqueue set_aside layout

local bounds = {} -- flow -> {most, running at the call's start}; false: it has none. Asked once a flow and call

local function bound_of(q, flow)
  if bounds[flow] == nil then
    local most = tonumber(read_of_record(q, flow)[3])
    bounds[flow] = most and {most = most} or false
  end
  return bounds[flow]
end

-- How many jobs of a flow run now, with what this call has done to them so far.
local function running_of(q, flow, bound)
  if not bound.running then
    bound.running = 0
    local counts = attempt('HGETALL', flow_key('counts', q, flow)) or {}
    for i = 1, #counts, 2 do
      if counts[i]:sub(1, 7) == 'active@' then bound.running = bound.running + number(counts[i + 1]) end
    end
  end
  local moved = 0
  for _, other in pairs(queues_seen) do
    local tally = other.tallies and other.tallies[flow]
    moved = moved + (tally and tally.active or 0)
  end
  return bound.running + moved
end

local function is_full(q, flow)
  local bound = bound_of(q, flow)
  return bound and running_of(q, flow, bound) >= bound.most
end

-- The job has left `from`, and waits until another of its flow has ended.
local function wait_aside(q, id, flow, from)
  set_aside(q, id, flow, from)
  attempt('LPUSH', flow_key('aside', q, flow), job_key(q, id))
end

-- As many jobs of a flow as may run beside those that do go back to the head of their lines, the oldest to the very head.
-- One that is not aside any more, as somebody has resumed or removed it, is forgotten. `most` goes for a flow whose bound
-- was taken away.
local function call_in(q, flow, most)
  local bound, found = bound_of(q, flow) or most and {most = most, running = 0}, {}
  if not bound then return end
  local key, room = flow_key('aside', q, flow), bound.most - running_of(q, flow, bound) - (bound.called or 0)
  while #found < room do
    local job = attempt('RPOP', key)
    if not job then break end
    local at, id = queue_and_id(job)
    if is_sound(at) and redis.call('LREM', at.paused, -1, id) == 1 then found[#found + 1] = {at, id} end
  end
  bound.called = (bound.called or 0) + #found
  for i = #found, 1, -1 do
    local at, id = unpack(found[i])
    local state = enqueue_first(at, id, number(field_of(job_key(at, id), 'priority')))
    if state == 'prioritized' then count_move(at, flow, 'waiting', state) end
  end
end
