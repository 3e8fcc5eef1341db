--- resume_queue: workers start jobs of this queue again.
-- @keys    queues
-- @args    now start
-- @returns after
-- @errors
-- @use     queue counts set_aside

local q = queues[1]
redis.call('HDEL', q.meta, 'paused')
-- BullMQ 5 kept the jobs of a paused queue in a list of its own, where those of paused flows stay; the caller
-- asks again from `after` on until there is none.
local after = put_back(q, args.start or 0)
q.has_new_work = redis.call('EXISTS', q.wait, q.prioritized) > 0
q.has_new_delay = not q.has_new_work
if not args.start then emit(q, 'resumed') end
write_counts()
wake_workers()
return reply{after = after}
