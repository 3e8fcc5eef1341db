--- change_delay: delayed -> delayed; a job is due so many ms from now on.
-- One that is not delayed any more stays as it is.
-- @keys    queues
-- @args    now id delay
-- @returns changed
-- @errors  KEY_DAMAGED JOB_MISSING
-- @use     types queue enqueue

local q, job = queues[1], job_key(queues[1], args.id)
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
if not is_kind(job, 'hash') then return refuse('KEY_DAMAGED', job) end
if redis.call('EXISTS', job) == 0 then return refuse('JOB_MISSING', job) end
if redis.call('ZREM', q.delayed, args.id) == 0 then return reply{changed = false} end
local due = now + args.delay
redis.call('HSET', job, 'delay', int(args.delay))
put_off(q, args.id, due)
emit_and_trim(q, 'delayed', 'jobId', args.id, 'delay', int(due))
wake_workers()
return reply{changed = true}
