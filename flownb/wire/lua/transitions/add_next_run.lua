--- add_next_run: nothing -> delayed; the next job of one of BullMQ's job schedulers, when its present one begins.
-- `at` is when that one was due (ms): a scheduler that has gone on since, or is gone, stays as it is. Sent twice, the call
-- adds nothing twice.
-- @keys    queues
-- @args    now scheduler at next opts priority name data
-- @returns added
-- @errors
-- @use     types queue enqueue

local q, schedulers = queues[1], queues[1].base .. ':repeat'
local scheduler = schedulers .. ':' .. args.scheduler
local id = 'repeat:' .. args.scheduler .. ':' .. int(args.next)
local job = job_key(q, id)
if not is_sound(q) or tonumber(attempt('ZSCORE', schedulers, args.scheduler)) ~= args.at
    or redis.call('EXISTS', job) == 1 then
  return reply{added = false}
end

local has, delay = fields_of(scheduler, 'name', 'data'), math.max(args.next - now, 0)
redis.call('ZADD', schedulers, int(args.next), args.scheduler)
attempt('HINCRBY', scheduler, 'ic', 1)
attempt('INCR', q.id)
redis.call('HSET', job, 'name', has[1] or args.name, 'data', has[2] or args.data, 'opts', args.opts,
           'timestamp', now_text, 'delay', int(delay), 'priority', int(args.priority), 'rjk', args.scheduler)
emit(q, 'added', 'jobId', id, 'name', has[1] or args.name)
put_off(q, id, args.next)
emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(args.next))
wake_workers()
return reply{added = true}
