--- pause_queue: no worker starts a job of this queue until it is resumed; running jobs go on.
-- @keys    queues
-- @args    now
-- @returns
-- @errors  KEY_DAMAGED
-- @use     types queue

local q = queues[1]
if not is_kind(q.meta, 'hash') then return refuse('KEY_DAMAGED', q.meta) end
redis.call('HSET', q.meta, 'paused', '1')
redis.call('DEL', q.marker)
emit(q, 'paused')
return reply{}
