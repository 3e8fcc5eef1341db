--- give_back: active -> waiting or prioritized; a worker that ended gives its jobs back at once.
-- Only a job whose lock is still that in `locks` is touched: its worker may have taken it anew since. `death` says that
-- the worker's process died: 'begun' or 'unbegun', as these jobs were; `alone` that only one had begun there; `rows` which
-- row of a many-row job ran, or -1.
-- @keys    queues
-- @args    now ids locks death alone rows most
-- @returns given
-- @errors
-- @use     types queue counts enqueue needed cancel stall

local q, given = queues[1], {}
for i, id in ipairs(is_sound(q) and args.ids or {}) do
  local job = job_key(q, id)
  if attempt('GET', job .. ':lock') == args.locks[i] and redis.call('LREM', q.active, -1, id) == 1 then
    redis.call('DEL', job .. ':lock')
    attempt('SREM', q.stalled, id)
    local has = fields_of(job, 'priority', 'fl', 'processedOn')
    local from = has[3] and 'active' or 'waiting'
    if args.death == 'begun' then
      local row = args.rows[i]
      charge_death(job, args.most, args.alone, row and row >= 0 and row)
    elseif args.death then
      note_unbegun(job, args.most)
    end
    if is_cancelled(q, job, has[2]) then
      cancel(q, id, from)
    else
      count_move(q, has[2], from, enqueue_first(q, id, number(has[1])))
      if has[3] then emit_and_trim(q, 'waiting', 'jobId', id, 'prev', 'active') end
    end
    given[#given + 1] = id
  end
end
write_counts()
wake_workers()
return reply{given = given}
