--- read_names: what the given jobs are called and whether they have children; nothing is written.
-- @keys    queues
-- @args    jobs
-- @returns names
-- @errors
-- @use

-- A job: {name, how many of a parent's keys it has}; false for a job that is not there.
local names = {}
for i, key in ipairs(args.jobs) do
  local name = redis.call('HGET', key, 'name')
  names[i] = name and {name, redis.call('EXISTS', key .. ':dependencies', key .. ':processed',
                                      key .. ':failed', key .. ':unsuccessful')}
end
return reply{names = names}
