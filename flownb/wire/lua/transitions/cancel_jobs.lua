--- cancel_jobs: waiting, prioritized, delayed or waiting-children -> failed, of those jobs that nobody needs any more.
-- Jobs that run go on, and are told when they say how far they are. Sent twice, it cancels nothing twice.
-- @keys    queues
-- @args    now jobs
-- @returns cancelled
-- @errors
-- @use     queue counts parents cancel job_state forget

-- 1. Which have not ended, and are needed by nobody?
local over, ids_of, named = {}, {}, {}
for _, job in ipairs(args.jobs) do
  local has = redis.call('HMGET', job, 'name', 'finishedOn', 'fl', 'parentKey', 'parent', 'sh')
  if has[1] and not has[2] and not named[job] then
    named[job] = true
    local q, id = queue_and_id(job)
    local edges = parents_of(job, has[5], has[4], has[6])
    if is_over(q, job, has[3], edges) then
      over[#over + 1] = {q = q, id = id, flow = has[3], edges = edges}
      ids_of[q] = ids_of[q] or {}
      table.insert(ids_of[q], id)
    end
  end
end

-- 2. Those that wait leave their line together; each of the others is asked for its place.
local found, line, left = {}, {}, {}
for q, ids in pairs(ids_of) do
  left[q] = place_of(q.wait, ids) and take_off(q, ids) or {}
end
for _, at in ipairs(over) do
  local has_left = left[at.q][at.id]
  at.state = has_left and 'waiting' or state_of(at.q, at.id)
  if has_left or leave_line(at, line) then found[#found + 1] = at end
end
for q, ids in pairs(line) do take_off(q, ids) end
for _, at in ipairs(found) do cancel(at.q, at.id, at.state, nil, at.flow, at.edges) end
for _, q in pairs(queues_seen) do trim_events(q) end
write_counts()
return reply{cancelled = #found}
