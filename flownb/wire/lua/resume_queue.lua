--- resume_queue: workers start jobs of this queue again.
-- @keys    queues
-- @args    now
-- @returns
-- @errors
-- @use     queue

local q = queues[1]
local was_paused = redis.call('HDEL', q.meta, 'paused') == 1
-- BullMQ 5 kept the jobs of a paused queue in a list of its own; the caller asks again until it is empty.
local legacy = redis.call('LRANGE', q.base .. ':paused', 0, 6999)
if #legacy > 0 then
  redis.call('RPUSH', q.wait, unpack(legacy))
  redis.call('LTRIM', q.base .. ':paused', #legacy, -1)
end
q.has_new_work = redis.call('EXISTS', q.wait, q.prioritized) > 0
q.has_new_delay = not q.has_new_work
if was_paused or #legacy == 0 then emit(q, 'resumed') end
wake_workers()
return reply{}
