--- read_kin: what the given jobs are called and whether they have children; nothing is written.
-- @keys    queues
-- @args    jobs
-- @returns kin
-- @errors
-- @use

-- A job: {name, how many of a parent's keys it has}; false for a job that is not there.
local kin = {}
for i, key in ipairs(args.jobs) do
  local name = redis.call('HGET', key, 'name')
  kin[i] = name and {name, redis.call('EXISTS', key .. ':dependencies', key .. ':processed',
                                      key .. ':failed', key .. ':unsuccessful')}
end
return reply{kin = kin}
