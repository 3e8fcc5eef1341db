--- tell_spent: active -> active; what running jobs have spent so far counts from now on, whatever becomes of their runs.
-- A flow that has spent its budget with this pauses. Sent twice, or late, a call adds nothing twice. A run that lost its job has spent it all the same;
-- a job that is gone is not made again.
-- @keys    queues
-- @args    now runs
-- @returns
-- @errors
-- @use     types queue spending brakes
-- @row     told base id attempts_started spent rows

for _, packed in ipairs(args.runs) do
  local told = told_of(packed)
  local q = queue_at(told.base)
  local job = job_key(q, told.id)
  local has = fields_of(job, 'name', 'fl', 'finishedOn')
  if has[1] then
    note_spent(q, job, has[2], told.attempts_started, told.spent)
    if not has[3] then note_spent_by_rows(job, told.rows) end
    if has[2] then flows_to_review[has[2]] = q end
  end
end
review_brakes()
write_used()
return reply{}
