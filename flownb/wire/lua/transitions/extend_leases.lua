--- extend_leases: active -> active; the leases of running jobs live on.
-- A lease that ran out while nobody could renew it is taken again, as long as nobody started the job since.
-- @keys    queues
-- @args    now leases lock_ms
-- @returns lost
-- @errors
-- @use     queue

-- A lease: {base, id, token, ats}; without `ats` only a lease that still stands is renewed.
local lost = {}
for _, lease in ipairs(args.leases) do
  local q, id, token, ats = queue_at(lease[1]), lease[2], lease[3], lease[4]
  local job = job_key(q, id)
  local lock = redis.call('GET', job .. ':lock')
  local mine = lock == token
  if not lock and ats then
    mine = tonumber(redis.call('HGET', job, 'ats')) == ats and redis.call('LPOS', q.active, id)
  end
  if mine then
    redis.call('SET', job .. ':lock', token, 'PX', args.lock_ms)
    redis.call('SREM', q.stalled, id)
  else
    lost[#lost + 1] = id
  end
end
return reply{lost = lost}
