--- pause_queue: no worker starts a job of this queue until it is resumed; running jobs go on.
-- @keys    queues
-- @args    now
-- @returns
-- @errors
-- @use     queue

local q = queues[1]
redis.call('HSET', q.meta, 'paused', '1')
redis.call('DEL', q.marker)
emit(q, 'paused')
return reply{}
