--- give_back: active -> waiting or prioritized; a worker that ended gives its jobs back at once.
-- Only jobs whose lock still starts with `token` are touched. `charge` counts the end as a crash: a job
-- that was there in more than `most` of them is failed by the next worker, without being run.
-- @keys    queues
-- @args    now ids token charge most
-- @returns given
-- @errors
-- @use     queue counts enqueue needed cancel

local q, given = queues[1], {}
for _, id in ipairs(args.ids) do
  local job = job_key(q, id)
  local lock = redis.call('GET', job .. ':lock')
  if lock and lock:sub(1, #args.token) == args.token and redis.call('LREM', q.active, -1, id) == 1 then
    redis.call('DEL', job .. ':lock')
    redis.call('SREM', q.stalled, id)
    local has = redis.call('HMGET', job, 'priority', 'fl')
    if args.charge and redis.call('HINCRBY', job, 'stc', 1) > args.most then
      redis.call('HSET', job, 'defa', 'job stalled more than allowable limit')
    end
    if is_cancelled(q, job, has[2]) then
      cancel(q, id, 'active')
    else
      count_move(q, has[2], 'active', enqueue_first(q, id, tonumber(has[1]) or 0))
      emit_and_trim(q, 'waiting', 'jobId', id, 'prev', 'active')
    end
    given[#given + 1] = id
  end
end
write_counts()
wake_workers()
return reply{given = given}
