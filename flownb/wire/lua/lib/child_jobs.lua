-- child_jobs: a running job gets children.
-- @touches flownb:flow flownb:counts
-- @use     queue counts job_state
-- @map     adding_run key token attempts_started

-- Is this still the job's run? It is while it holds the lock, or when its lease ran out and nobody has started the job
-- since; unless its end is written already.
local function still_runs(adding_run)
  local has = redis.call('HMGET', adding_run.key, 'ats', 'ft')
  if not has[1] or has[2] == adding_run.token then return false end
  local lock = redis.call('GET', adding_run.key .. ':lock')
  if lock then return lock == adding_run.token end
  return tonumber(has[1]) == adding_run.attempts_started
end

-- A job outside any flow becomes the root of one; what an earlier job of this id has left is not its own.
local function make_root(job, flow)
  if redis.call('HSETNX', job, 'fl', flow) == 0 then return end
  local q, id = queue_and_id(job)
  redis.call('DEL', flow_key('flow', q, flow), flow_key('counts', q, flow))
  count_move(q, flow, nil, state_of(q, id))
end
