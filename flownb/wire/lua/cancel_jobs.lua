--- cancel_jobs: waiting, prioritized, delayed or waiting-children -> failed, of those jobs that nobody needs any more.
-- Jobs that run go on, and are told when they say how far they are. Sent twice, it cancels nothing twice.
-- @keys    queues
-- @args    now jobs
-- @returns cancelled
-- @errors
-- @use     queue counts cancel where gone

local found, line = {}, {}
for _, job in ipairs(args.jobs) do
  local at = look_at(job)
  if at and is_over(at.q, at.key, at.flow, at.edges) and leave_line(at, line) then found[#found + 1] = at end
end
for q, ids in pairs(line) do take_off(q, ids) end
for _, at in ipairs(found) do cancel(at.q, at.id, at.state, nil, at.flow, at.edges) end
for _, q in pairs(queues_seen) do trim_events(q) end
write_counts()
return reply{cancelled = #found}
