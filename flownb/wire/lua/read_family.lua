--- read_family: how far the children of the given parents are, counted by the server; nothing is written.
-- @keys    queues
-- @args    jobs
-- @returns families
-- @errors
-- @use

-- A family: {pending, completed, ignored failures, failures}
local families = {}
for i, key in ipairs(args.jobs) do
  families[i] = {
    redis.call('SCARD', key .. ':dependencies'), redis.call('HLEN', key .. ':processed'),
    redis.call('HLEN', key .. ':failed'), redis.call('ZCARD', key .. ':unsuccessful'),
  }
end
return reply{families = families}
