--- change_priority: waiting or prioritized -> waiting or prioritized; a job gets another priority, and its place in line by it.
-- With `lifo` it goes to the head of its line, or before all of its priority. A job in another state goes by the new
-- priority when it gets into line. Sent twice, a call leaves the job where it is.
-- @keys    queues
-- @args    now id priority lifo
-- @returns
-- @errors  KEY_DAMAGED JOB_MISSING
-- @use     types queue counts enqueue

local q, id, job = queues[1], args.id, job_key(queues[1], args.id)
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
if not is_kind(job, 'hash') then return refuse('KEY_DAMAGED', job) end
local has = redis.call('HMGET', job, 'name', 'fl')
if not has[1] then return refuse('JOB_MISSING', job) end
redis.call('HSET', job, 'priority', int(args.priority))
local from = redis.call('ZREM', q.prioritized, id) == 1 and 'prioritized'
  or redis.call('LREM', q.wait, 1, id) == 1 and 'waiting'
if from then
  local state
  if args.lifo then state = enqueue_first(q, id, args.priority) else state = enqueue(q, id, args.priority, 'L') end
  count_move(q, has[2], from, state)
end
write_counts()
wake_workers()
return reply{}
