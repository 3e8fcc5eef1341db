--- read_cancelled: which of the given jobs nobody needs any more, or are gone; nothing is written.
-- @keys    queues
-- @args    now jobs
-- @returns cancelled
-- @errors
-- @use     queue needed

local cancelled = {}
for i, job in ipairs(args.jobs) do
  local has = redis.call('HMGET', job, 'name', 'fl')
  local q = queue_and_id(job)
  cancelled[i] = not has[1] or is_cancelled(q, job, has[2]) or false
end
return reply{cancelled = cancelled}
