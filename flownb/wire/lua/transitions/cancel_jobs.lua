--- cancel_jobs: waiting, prioritized, delayed or waiting-children -> failed, of those jobs that nobody needs any more.
-- Jobs that are damaged stay as they are. Jobs that run go on; they learn of the cancel when they report progress. Sent twice, the call cancels nothing twice.
-- @keys    queues
-- @args    now jobs
-- @returns cancelled
-- @errors
-- @use     types queue counts parents needed cancel job_state lists leave full_server

-- 1. Which have not ended, and are needed by nobody?
local unneeded, ids_of, seen = {}, {}, {}
for _, key in ipairs(args.jobs) do
  local has = fields_of(key, 'name', 'finishedOn', 'fl', 'parentKey', 'parent', 'sh')
  if has[1] and not has[2] and not seen[key] and is_sound_job(key) then
    seen[key] = true
    local q, id = queue_and_id(key)
    local links = parents_of(key, has[5], has[4], has[6])
    if is_cancelled(q, key, has[3], links) then
      unneeded[#unneeded + 1] = {q = q, id = id, flow = has[3], links = links}
      ids_of[q] = ids_of[q] or {}
      table.insert(ids_of[q], id)
    end
  end
end

if #unneeded > 0 then write_though_full(queues[1]) end

-- 2. Those that wait leave their lists together, found by one look at the list; the state of each other job is asked for.
local left, waiting, removed = {}, {}, {}
for q, ids in pairs(ids_of) do
  removed[q] = position_in(q.wait, ids) and remove_from_lists(q, ids) or {}
end
for _, job in ipairs(unneeded) do
  local was_waiting = removed[job.q][job.id]
  job.state = was_waiting and 'waiting' or state_of(job.q, job.id)
  if was_waiting or leave_state(job, waiting) then left[#left + 1] = job end
end
for q, ids in pairs(waiting) do remove_from_lists(q, ids) end
for _, job in ipairs(left) do cancel(job.q, job.id, job.state, nil, job.flow, job.links) end
for _, q in pairs(queues_seen) do trim_events(q) end
write_counts()
return reply{cancelled = #left}
