--- upsert_schedule: nothing -> delayed, waiting or prioritized; one of BullMQ's job schedulers, with its next job in
-- place of the one that waits. `before` is when the caller saw that one due (ms), false for no scheduler: where another
-- has changed it since, as the same call sent twice does, nothing is written. Nor where a job that runs or has ended has
-- the next one's id (`taken`). `beside` are fields of flownb's own hashes.
-- @keys    queues
-- @args    now scheduler before due fields scheduled_job beside
-- @returns stored taken
-- @errors  KEY_DAMAGED
-- @use     types queue add_checks schedule
-- @row     field_row key field value
-- @map     scheduled_job name data opts priority

local q, scheduler = queues[1], args.scheduler
local record, hashes = schedulers_of(q) .. ':' .. scheduler, {}
for i, packed in ipairs(args.beside) do hashes[i] = field_row_of(packed).key end
hashes[#hashes + 1] = record
local damaged = damaged_queue(queues) or first_of_another_type({schedulers_of(q)}, 'zset')
  or first_of_another_type(hashes, 'hash')
if damaged then return refuse('KEY_DAMAGED', damaged) end
if (next_due(q, scheduler) or false) ~= args.before then return reply{stored = false, taken = false} end

local waits = args.before and run_waits(q, scheduler, args.before)
if redis.call('EXISTS', job_key(q, run_id(scheduler, args.due))) == 1 and not (waits and args.due == args.before) then
  return reply{stored = false, taken = true}
end

local made = field_of(record, 'ic') or '1'
if waits then drop_run(q, scheduler, args.before) end
redis.call('DEL', record)
redis.call('HSET', record, 'ic', made, unpack(args.fields))
for _, packed in ipairs(args.beside) do
  local row = field_row_of(packed)
  redis.call('HSET', row.key, row.field, row.value)
end
add_run(q, scheduler, args.due, args.scheduled_job)
wake_workers()
return reply{stored = true, taken = false}
