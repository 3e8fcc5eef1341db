--- give_back: active -> waiting or prioritized; a worker that ended gives its jobs back at once.
-- Only jobs whose lock still starts with `token` are touched. `charge` counts the end as a crash: a job
-- that was there in more than `most` of them is failed by the next worker, without being run.
-- @keys    queues
-- @args    now ids token charge most
-- @returns given
-- @errors
-- @use     types queue counts enqueue needed cancel stall

local q, given = queues[1], {}
for _, id in ipairs(is_sound(q) and args.ids or {}) do
  local job = job_key(q, id)
  local lock = attempt('GET', job .. ':lock')
  if lock and lock:sub(1, #args.token) == args.token and redis.call('LREM', q.active, -1, id) == 1 then
    redis.call('DEL', job .. ':lock')
    attempt('SREM', q.stalled, id)
    if args.charge then charge_stall(job, args.most) end
    local has = fields_of(job, 'priority', 'fl')
    if is_cancelled(q, job, has[2]) then
      cancel(q, id, 'active')
    else
      count_move(q, has[2], 'active', enqueue_first(q, id, number(has[1])))
      emit_and_trim(q, 'waiting', 'jobId', id, 'prev', 'active')
    end
    given[#given + 1] = id
  end
end
write_counts()
wake_workers()
return reply{given = given}
