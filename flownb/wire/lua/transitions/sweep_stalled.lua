--- sweep_stalled: active -> waiting, for jobs that lost their lease; once an interval, whoever comes first.
-- A job is looked at in one sweep and moved in the next, so that its worker has time to renew the lease. Charged is who had
-- begun, as far as that was told: `stall` says what follows.
-- @keys    queues
-- @args    now interval most
-- @returns stalled
-- @errors
-- @use     types queue counts needed cancel stall

-- With a sweep a worker also says that it serves the queue; that answers why a job waits.
local stalled = {}
for _, q in ipairs(queues) do
  attempt('ZADD', prefix_of(q) .. ':flownb:served', int(now + 3 * args.interval), q.base)
  if is_sound(q) and redis.call('SET', q.stalled_check, int(now), 'PX', args.interval, 'NX') then
    trim_events(q)
    local suspects = attempt('SMEMBERS', q.stalled)
    if suspects then redis.call('DEL', q.stalled) end
    for _, id in ipairs(suspects or {}) do
      local job = job_key(q, id)
      if redis.call('EXISTS', job .. ':lock') == 0 and redis.call('LREM', q.active, 1, id) == 1 then
        local has = fields_of(job, 'fl', 'processedOn')
        local flow, from = has[1], has[2] and 'active' or 'waiting'
        if has[2] then charge_death(job, args.most) else note_unbegun(job, args.most) end
        if is_cancelled(q, job, flow) then
          emit(q, 'stalled', 'jobId', id)
          cancel(q, id, from)
        else
          redis.call('RPUSH', q.wait, id)
          q.has_new_work = true
          emit(q, 'waiting', 'jobId', id, 'prev', 'active')
          emit(q, 'stalled', 'jobId', id)
          count_move(q, flow, from, 'waiting')
        end
        stalled[#stalled + 1] = id
      end
    end
    -- Only jobs without a lease are suspects of the next sweep; `active` is as long as the workers are wide.
    local running = redis.call('LRANGE', q.active, 0, 6999)
    for _, id in ipairs(running) do
      if redis.call('EXISTS', job_key(q, id) .. ':lock') == 0 then attempt('SADD', q.stalled, id) end
    end
  end
end
write_counts()
wake_workers()
return reply{stalled = stalled}
