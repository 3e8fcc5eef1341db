--- add_next_run: nothing -> delayed; the next job of one of BullMQ's job schedulers, when its present one begins.
-- `at` is when that one was due (ms): a scheduler that has gone on since, or is gone, stays as it is. Sent twice, the call
-- adds nothing twice.
-- @keys    queues
-- @args    now scheduler at next opts priority name data
-- @returns added
-- @errors
-- @use     types queue schedule

local q = queues[1]
if not is_sound(q) or next_due(q, args.scheduler) ~= args.at
    or redis.call('EXISTS', job_key(q, run_id(args.scheduler, args.next))) == 1 then
  return reply{added = false}
end

local scheduler = schedulers_of(q) .. ':' .. args.scheduler
local has = fields_of(scheduler, 'name', 'data')
attempt('HINCRBY', scheduler, 'ic', 1)
add_run(q, args.scheduler, args.next,
        {name = has[1] or args.name, data = has[2] or args.data, opts = args.opts, priority = args.priority})
wake_workers()
return reply{added = true}
