--- resume_queue: workers start jobs of this queue again.
-- @keys    queues
-- @args    now start
-- @returns after
-- @errors  KEY_DAMAGED
-- @use     queue counts set_aside

local q = queues[1]
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
redis.call('HDEL', q.meta, 'paused')
-- The list in which BullMQ 5 kept the jobs of a paused queue also has jobs of paused flows. The caller asks again from
-- `after` on until there is none.
local after = restore_set_aside(q, args.start or 0)
q.has_new_work = redis.call('EXISTS', q.wait, q.prioritized) > 0
q.has_new_delay = not q.has_new_work
if not args.start then emit(q, 'resumed') end
write_counts()
wake_workers()
return reply{after = after}
