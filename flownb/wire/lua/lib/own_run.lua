-- own_run: does a run of a job still count? Its function writes to the job only while it does.
-- @touches nothing but the job's hash and lock, which are read
-- @use     types
-- @map     own_run key token attempts_started

-- Is this still the job's run? It is while it holds the lock, or when its lease ran out and nobody has started the job
-- since; unless its end is written already.
local function still_runs(own_run)
  local has = fields_of(own_run.key, 'ats', 'ft')
  if not has[1] or has[2] == own_run.token then return false end
  local lock = attempt('GET', own_run.key .. ':lock')
  if lock then return lock == own_run.token end
  return tonumber(has[1]) == own_run.attempts_started
end
