--- extend_leases: active -> active; the leases of running jobs are renewed.
-- A lease that ran out while nobody could renew it is taken again, as long as nobody started the job since.
-- @keys    queues
-- @args    now leases lock_ms
-- @returns lost
-- @errors
-- @use     types queue
-- @row     lease base id token attempts_started

local lost = {}
for _, packed in ipairs(args.leases) do
  local lease = lease_of(packed)
  local q = queue_at(lease.base)
  local job = job_key(q, lease.id)
  local lock = attempt('GET', job .. ':lock')
  local is_held = lock == lease.token
  if not lock and lease.attempts_started then
    is_held = tonumber(field_of(job, 'ats')) == lease.attempts_started and attempt('LPOS', q.active, lease.id)
  end
  if is_held then
    redis.call('SET', job .. ':lock', lease.token, 'PX', args.lock_ms)
    attempt('SREM', q.stalled, lease.id)
  else
    lost[#lost + 1] = lease.id
  end
end
return reply{lost = lost}
