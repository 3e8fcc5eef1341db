--- add_deduplicated_jobs: nothing -> waiting, prioritized or delayed; jobs of which one at a time stands for an id.
-- Jobs of one queue, in order. Where the owner of a deduplication id lives on, a job is not added: the answer is the
-- owner's id. How long an id is kept, whether the new one takes the place of a delayed owner, puts it off, or follows a
-- running one is BullMQ's: `ttl extend replace reschedule keep_last`. A job whose own id is there is left as it is: sent
-- twice, a call adds nothing twice.
-- @keys    queues
-- @args    now jobs opts
-- @returns ids
-- @errors  KEY_DAMAGED
-- @use     types queue new_job owner
-- @row     job_row queue id name data opts parents details
-- @row     job_details delay priority lifo has_children bind flow_prefix keep weights
-- @row     deduplicated job deduplication
-- @row     deduplication id ttl extend replace reschedule keep_last

local q, ids = queues[1], {}
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
for i, packed in ipairs(args.jobs) do
  local pair = deduplicated_of(packed)
  local row, how = job_row_of(pair.job), deduplication_of(pair.deduplication)
  row.details = row.details and job_details_of(row.details) or NO_DETAILS
  local job, opts = job_key(q, row.id), args.opts[row.opts]
  attempt('INCR', q.id)
  if redis.call('EXISTS', job) == 1 then
    emit_and_trim(q, 'duplicated', 'jobId', row.id)
    ids[i] = row.id
  else
    local owner = owner_instead(q, row, how, opts)
    ids[i] = owner or row.id
    if not owner then
      store_any(job, row, row.details, opts, nil, {})
      redis.call('HSET', job, 'deid', how.id)
      emit(q, 'added', 'jobId', row.id, 'name', row.name)
      begin(q, row.id, row.details)
    end
  end
end
write_grouped()
trim_events(q)
wake_workers()
return reply{ids = ids}
