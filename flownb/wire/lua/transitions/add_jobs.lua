--- add_jobs: nothing -> waiting, prioritized, delayed or waiting-children.
-- Stores jobs, parents before their children, in one go. A job that is there already is not touched:
-- the job gains the parent it is added under, and that parent its value if the job has one; so do the jobs to which it
-- has delegated rows. Sent twice, a call adds nothing twice. While `seal` stands among a parent's dependencies, the
-- parent waits for later calls.
-- Refused where new jobs would run rows that somebody has stored meanwhile: who asks looks again, and keeps those.
-- None of the `fresh` first jobs may be another flow's. With `bullmq` all is as BullMQ's own add does it: no job is
-- shared, and `id` counts what was asked for. `own_run` is a run of a job that adds children to itself: it must still be
-- the job's run, and without a flow the job becomes a root.
-- @keys    queues
-- @args    now jobs opts parents record seal unseal fields bullmq fresh own_run
-- @returns added existing
-- @errors  KEY_DAMAGED OVERTAKEN JOB_EXISTS JOB_ELSEWHERE PARENT_MISSING PARENT_CANNOT_BE_REPLACED FLOW_CANCELLED
-- @use     types queue counts flow_record end_flow release notify parents add_parent add_checks child_jobs own_run marks new_job
-- @row     job_row queue id name data opts parents details
-- @row     job_details delay priority lifo has_children bind flow_prefix keep weights
-- @row     parent_row key link policy is_outside
-- @row     field_row key field value
-- @map     flow_record id name fields is_stored joins paused seen

local flow_record = args.record
local flow = flow_record and flow_record.id

-- 1. Refuse.
local damaged = damaged_queue(queues) or flow_record and flow_record.fields and damaged_record(queues[1], flow)
if damaged then return refuse('KEY_DAMAGED', damaged) end

local parents, rows, job_keys, named, none_exists = {}, {}, {}, {}, true
local old_parents, new_parents, hashes, delegates = {}, {}, {}, {}
for i, packed in ipairs(args.parents) do
  local parent = parent_row_of(packed)
  if parent.is_outside and redis.call('EXISTS', parent.key) == 0 then return refuse('PARENT_MISSING', parent.key) end
  parents[i] = parent
  table.insert(parent.is_outside and old_parents or new_parents, parent.key)
end
if args.own_run then table.insert(old_parents, args.own_run.key) end
for _, parent in ipairs(args.unseal) do new_parents[#new_parents + 1] = parent end
for _, packed in ipairs(args.fields) do hashes[#hashes + 1] = field_row_of(packed).key end

for i, packed in ipairs(args.jobs) do
  local row = job_row_of(packed)
  local job = job_key(queues[row.queue], row.id)
  if named[job] then none_exists = false end -- an id that comes twice is there the second time
  row.details = row.details and job_details_of(row.details) or NO_DETAILS
  rows[i], job_keys[i], named[job] = row, job, true
  if type(row.parents) == 'table' then hashes[#hashes + 1] = further_parents_key(job) end
end
damaged = damaged_parent(old_parents, new_parents, hashes)
if damaged then return refuse('KEY_DAMAGED', damaged) end
local there = redis.call('EXISTS', unpack(job_keys))
none_exists = none_exists and there == 0
if flow_record and there < #rows and was_overtaken(queues[1], flow_record) then return refuse('OVERTAKEN', flow) end

if not none_exists then
  for i, row in ipairs(rows) do
    local job, parent = job_keys[i], parents[row.parents]
    damaged = first_of_another_type({job, further_parents_key(job)}, 'hash')
    if damaged then return refuse('KEY_DAMAGED', damaged) end
    delegates[i] = args.bullmq and {} or find_delegates(job, {})
    if delegates[i].damaged then return refuse('KEY_DAMAGED', delegates[i].damaged) end
    if args.bullmq and parent and not may_be_adopted(job, parent.key) then
      return refuse('PARENT_CANNOT_BE_REPLACED', job)
    elseif i <= args.fresh and is_anothers(job, (row.details.flow_prefix or '') .. flow) then
      return refuse('JOB_EXISTS', job)
    end
  end
end
if args.own_run and not still_runs(args.own_run) then return refuse('JOB_ELSEWHERE', args.own_run.key) end
if flow and was_cancelled(queues[1], flow) then return refuse('FLOW_CANCELLED', flow) end

-- 2. The flow's own record, once.
if flow_record and flow_record.fields then
  if args.own_run then make_root(args.own_run.key, flow) end
  store_flow_record(queues[1], flow_record)
  forget_marks() -- it may be paused from the start on
end

-- 3. Jobs.
local added, existing, failed_before = 0, {}, {}
for i, row in ipairs(rows) do
  local q, id, job, details = queues[row.queue], row.id, job_keys[i], row.details
  if not none_exists and redis.call('EXISTS', job) == 1 then
    existing[#existing + 1] = id
    emit(q, 'duplicated', 'jobId', id)
    for n, parent in ipairs(parents_of_row(row, parents)) do
      if args.bullmq then
        adopt(q, id, job, parent)
      else
        failed_before[#failed_before + 1] = add_parent(q, job, parent, flow, n == 1)
        -- Rows may have been delegated since the caller has looked where they are.
        for _, delegate in ipairs(delegates[i]) do
          if not named[delegate] then
            failed_before[#failed_before + 1] = add_parent(q, delegate, parent, flow, n == 1)
          end
        end
      end
    end
    if args.bullmq then q.stored = (q.stored or 0) + 1 end
  else
    local in_flow = flow and (details.flow_prefix and details.flow_prefix .. flow or flow)
    local parent = in_flow and not details.bind and not details.keep and not details.weights and parents[row.parents]
    if parent then
      store_child(job, row, details, args.opts[row.opts], in_flow, parent)
    else
      store_any(job, row, details, args.opts[row.opts], in_flow, parents_of_row(row, parents))
    end
    emit(q, 'added', 'jobId', id, 'name', row.name)
    count_move(q, in_flow, nil, begin(q, id, details))
    q.stored = (q.stored or 0) + 1
    added = added + 1
    if details.has_children and args.seal then redis.call('SADD', job .. ':dependencies', args.seal) end
  end
end

-- 4. What is written once a call: trimming at each event would cost a third of the event.
write_grouped()
for _, q in pairs(queues_seen) do
  if q.stored then attempt('INCRBY', q.id, q.stored) end
end
for _, q in ipairs(queues) do trim_events(q) end
-- The children that a parent declares are kept when the parent comes again: it may have added children of its own since.
local write = args.own_run and 'HSET' or 'HSETNX'
for _, packed in ipairs(args.fields) do
  local field_row = field_row_of(packed)
  redis.call(write, field_row.key, field_row.field, field_row.value)
end
if flow_record and flow_record.is_stored then look_later(flow_key('flow', queues[1], flow), 60000) end

-- 5. A job that was there may have failed before, or be all that a parent waits for.
for _, child in ipairs(failed_before) do notify_failed(child.key, child.reason, child.links) end
for _, parent in ipairs(args.unseal) do
  if args.seal then redis.call('SREM', parent .. ':dependencies', args.seal) end
  release_if_done(parent)
end

write_counts()
wake_workers()
return reply{added = added, existing = existing}
