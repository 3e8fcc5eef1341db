--- read_children_counts: how far the children of the given parents are, counted by the server; nothing is written.
-- @keys    queues
-- @args    jobs
-- @returns counts
-- @errors
-- @use
-- @row     children_counts pending completed ignored failed

local counts = {}
for i, key in ipairs(args.jobs) do
  counts[i] = {
    redis.call('SCARD', key .. ':dependencies'), redis.call('HLEN', key .. ':processed'),
    redis.call('HLEN', key .. ':failed'), redis.call('ZCARD', key .. ':unsuccessful'),
  }
end
return reply{counts = counts}
