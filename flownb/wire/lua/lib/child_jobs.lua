-- child_jobs: a running job gets children.
-- @touches flownb:flow flownb:counts
-- @use     queue counts job_state

-- A job outside any flow becomes the root of one; what an earlier job of this id has left is not its own.
local function make_root(job, flow)
  if redis.call('HSETNX', job, 'fl', flow) == 0 then return end
  local q, id = queue_and_id(job)
  redis.call('DEL', flow_key('flow', q, flow), flow_key('counts', q, flow))
  count_move(q, flow, nil, state_of(q, id))
end
