--- read_names: what the given jobs are called and whether they have children; nothing is written.
-- @keys    queues
-- @args    jobs
-- @returns names
-- @errors
-- @use     types
-- @row     job_outline name has_children

-- A job that is not there is false. A job has children when it has one of a parent's keys: a number, 0 for none.
local names = {}
for i, key in ipairs(args.jobs) do
  local name = field_of(key, 'name')
  names[i] = name and {name, redis.call('EXISTS', key .. ':dependencies', key .. ':processed',
                                        key .. ':failed', key .. ':unsuccessful')}
end
return reply{names = names}
