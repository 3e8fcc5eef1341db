--- remove_schedule: a job scheduler of BullMQ's is gone, with the job that waits for its time.
-- What has come to its time runs. `beside` is a hash of flownb's own that goes too. Sent twice, the call removes nothing
-- twice.
-- @keys    queues
-- @args    now scheduler beside
-- @returns removed
-- @errors  KEY_DAMAGED
-- @use     queue add_checks schedule

local q, scheduler = queues[1], args.scheduler
local damaged = damaged_queue(queues) or first_of_another_type({schedulers_of(q)}, 'zset')
if damaged then return refuse('KEY_DAMAGED', damaged) end

local due = next_due(q, scheduler)
local id = due and run_id(scheduler, due)
if id and redis.call('ZREM', q.delayed, id) == 1 then
  redis.call('DEL', job_key(q, id))
  emit_and_trim(q, 'removed', 'jobId', id, 'prev', 'delayed')
end
if args.beside then redis.call('DEL', args.beside) end
redis.call('DEL', schedulers_of(q) .. ':' .. scheduler)
return reply{removed = redis.call('ZREM', schedulers_of(q), scheduler) == 1}
