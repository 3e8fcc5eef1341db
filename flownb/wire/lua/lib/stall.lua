-- stall: a job's worker died or lost the server; a job that was there too often fails with its next worker.
-- @touches nothing but the job's hash
-- @use     types

local function charge_stall(job, most)
  if not is_kind(job, 'hash') then return end
  local stalls = number(field_of(job, 'stc')) + 1
  redis.call('HSET', job, 'stc', stalls)
  if stalls > most then redis.call('HSET', job, 'defa', 'job stalled more than allowable limit') end
end
