-- failed_runs: when the failed runs of a job began and ended; the next start would overwrite the last of them.
-- @touches nothing but the job's hash

local MOST_RUNS = 20

-- Called where a job gets another run, and nowhere else. A run is `<began>-<ended>`; the newest are kept, the oldest first.
local function note_failed_run(job, ended)
  local has = redis.call('HMGET', job, 'processedOn', 'runs')
  local began, runs = has[1], has[2]
  if not began or not ended or runs and runs:match('(%d+)%-%d+$') == began then return end
  runs = (runs and runs .. ' ' or '') .. began .. '-' .. ended
  if select(2, runs:gsub(' ', '')) >= MOST_RUNS then runs = runs:gsub('^%S+ ', '') end
  redis.call('HSET', job, 'runs', runs)
end
