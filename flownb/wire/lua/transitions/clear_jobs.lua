--- clear_jobs: any state -> nothing; jobs of one state of a queue are gone, as BullMQ's drain, clean and obliterate remove them.
-- Those of flownb's flows leave their flow, and their parents go on without them. Answered and left alone: `larger`, jobs
-- of flows to which more belongs than themselves (roots, parents, shared ones); `parents` in the same queue, whose last
-- pending child would go: they are not to run on nothing, and go as a whole. Left too: what has moved since, what is younger than `before` (ms),
-- runs, or is the pending run of a job scheduler; with `whole`, for a queue that goes as a whole, only what has moved.
-- `spared` is a parent that goes on in any case. Sent twice, a call removes nothing twice.
-- @keys    queues
-- @args    now prefix state ids before whole spared tell
-- @returns removed larger parents
-- @errors  KEY_DAMAGED
-- @use     queue counts full_server clear

local q, state = queues[1], args.state
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end

-- 1. Look at every job.
local jobs, larger, parents = {}, {}, {}
local leaving = {} -- parent's key -> children of it that go
for _, id in ipairs(args.ids) do
  local job = read_to_clear(q, id, args.prefix)
  if may_be_cleared(job, state, args.before, args.whole) then
    if job.flow and job.is_large then
      larger[#larger + 1] = job.key
    elseif job.parent and job.parent ~= args.spared and is_last_in_queue(job, leaving[job.parent] or 0) then
      if parents[#parents] ~= job.parent then parents[#parents + 1] = job.parent end
    else
      jobs[#jobs + 1] = job
      if job.parent then leaving[job.parent] = (leaving[job.parent] or 0) + 1 end
    end
  end
end
write_though_full(q)

-- 2. They leave their list or set; those that are not there have moved since.
local removed = {}
for _, job in ipairs(leave_together(q, state, jobs)) do
  removed[#removed + 1] = job.id
  if args.tell then emit_and_trim(q, 'removed', 'jobId', job.id, 'prev', state == 'waiting' and 'wait' or state) end
  clear(job, state, args.tell)
end
-- A running job of which more belongs to its flow waits again: the queue is paused, and it is removed from there.
if args.whole and state == 'active' then
  for _, key in ipairs(larger) do stop_run(key) end
end
write_counts()
wake_workers()
return reply{removed = removed, larger = larger, parents = parents}
