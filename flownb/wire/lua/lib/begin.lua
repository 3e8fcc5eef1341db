-- begin: a job that was taken ahead has begun; nobody was told with the call that took it.
-- @touches events
-- @use     queue

-- The function was called `ran` ms ago.
local function tell_beginning(q, id, job, ran)
  redis.call('HSET', job, 'processedOn', int(now - (ran or 0)))
  emit_active(q, id)
end
