-- child_jobs: a running job gets children.
-- @touches flownb:flow flownb:counts
-- @use     queue counts job_state

-- Does the run that asks still count? It holds the lock, or its lease ran out and nobody has started the job
-- since; and its end is not written.
local function still_runs(under)
  local has = redis.call('HMGET', under.key, 'ats', 'ft')
  if not has[1] or has[2] == under.token then return false end
  local lock = redis.call('GET', under.key .. ':lock')
  if lock then return lock == under.token end
  return tonumber(has[1]) == under.ats
end

-- A job of its own becomes the root of a flow; what an earlier job of this id has left is not its own.
local function make_root(job, flow)
  if redis.call('HSETNX', job, 'fl', flow) == 0 then return end
  local q, id = queue_and_id(job)
  redis.call('DEL', flow_key('flow', q, flow), flow_key('counts', q, flow))
  count_move(q, flow, nil, state_of(q, id))
end
