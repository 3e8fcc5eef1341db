--- promote_jobs: delayed -> waiting or prioritized; jobs run before their time.
-- One by one they get into line by their priority. `in_bulk`, as by BullMQ's promoteJobs, all of them join the end of
-- `wait`, whatever their priority, and keep their delay. What is not delayed any more stays as it is: sent twice, a call
-- promotes nothing twice.
-- @keys    queues
-- @args    now ids in_bulk
-- @returns promoted
-- @errors  KEY_DAMAGED
-- @use     types queue counts enqueue

local q, promoted = queues[1], 0
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
for _, id in ipairs(args.ids) do
  if redis.call('ZREM', q.delayed, id) == 1 then
    local job = job_key(q, id)
    local has = fields_of(job, 'priority', 'fl')
    local state = enqueue(q, id, args.in_bulk and 0 or number(has[1]), 'L')
    count_move(q, has[2], 'delayed', state)
    if args.in_bulk then
      emit_and_trim(q, 'waiting', 'jobId', id, 'prev', 'delayed')
    else
      emit(q, 'waiting', 'jobId', id, 'prev', 'delayed')
      attempt('HSET', job, 'delay', '0')
    end
    promoted = promoted + 1
  end
end
write_counts()
wake_workers()
return reply{promoted = promoted}
