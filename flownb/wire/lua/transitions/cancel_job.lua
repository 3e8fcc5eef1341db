--- cancel_job: waiting, prioritized, delayed or waiting-children -> failed, of one job; its parents go by their policies.
-- A job that runs is told (`defa`), and ends with its run: see end_run. Where its worker dies, or is another program's,
-- whoever takes it next fails it instead of running it. One that has ended stays as it is. Sent twice, the call cancels nothing twice.
-- @keys    queues
-- @args    now job
-- @returns state
-- @errors  KEY_DAMAGED JOB_MISSING
-- @use     types queue counts parents job_state leave notify marks deduplication full_server

local job = read_job(args.job)
if not job then return refuse(redis.call('EXISTS', args.job) == 1 and 'KEY_DAMAGED' or 'JOB_MISSING', args.job) end
write_though_full(job.q)
local q, id, flow = job.q, job.id, job.flow
if job.state == 'active' then
  redis.call('HSET', job.key, 'defa', 'cancelled')
elseif leave_state(job) then
  if job.deduplication_id then end_deduplication(q, id, job.deduplication_id) end
  notify_failed(job.key, 'cancelled', job.links)
  for _, link in ipairs(job.links) do count_move(q, link.flow, 'waiting', 'failed') end
  redis.call('HSET', job.key, 'failedReason', 'cancelled', 'finishedOn', now_text, 'why', 'cancelled')
  redis.call('HDEL', job.key, 'defa')
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', 'cancelled', 'prev', job.state)
  count_move(q, flow, job.state, 'failed')
  if job.is_shared then attempt('HDEL', shared_key(job.key), job.key) end
  -- What it waits for is needed by nobody else, perhaps.
  if flow and job.state == 'waiting-children' then
    local flows, id_of_flow = marked_in('cancelled', q, flow)
    attempt('SADD', flows, id_of_flow)
  end
end
write_counts()
wake_workers()
return reply{state = job.state}
