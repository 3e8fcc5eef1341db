--- settle_shared: shared jobs that another program's worker ended or removed; their further parents are told.
-- BullMQ knows a job's first parent only. waiting-children -> waiting, prioritized, delayed or failed, as each
-- parent's own policy has it. Sent twice, it tells nobody twice.
-- @keys    queues
-- @args    now jobs
-- @returns told marked
-- @errors
-- @use     queue counts parent

local REMOVED = 'was removed by another program'

-- The parents that still wait for this job.
local function waiting_for(job, edges)
  local waiting = {}
  for _, edge in ipairs(edges) do
    if redis.call('SISMEMBER', edge.key .. ':dependencies', job) == 1 then waiting[#waiting + 1] = edge end
  end
  return waiting
end

-- `marked` are first parents that another program only marked: fail_doomed is for them.
local told, marked = 0, {}
for _, job in ipairs(args.jobs) do
  local q, id = queue_and_id(job)
  local has = redis.call('HMGET', job, 'name', 'finishedOn', 'returnvalue', 'failedReason')
  local listed = shared_key(job)
  local ended = has[2] and (redis.call('ZSCORE', q.completed, id) and 'completed'
    or redis.call('ZSCORE', q.failed, id) and 'failed')
  if ended or not has[1] then
    local edges = parents_of(job, nil, nil, true)
    local policy, first = (redis.call('HGET', listed, job) or ' '):match('^(%a*) (.*)$')
    if first ~= '' then
      if not has[1] then -- stands nowhere else now
        table.insert(edges, 1, {key = first, policy = policy})
      elseif ended == 'failed' then
        marked[#marked + 1] = first
      end
    end
    local waiting = waiting_for(job, edges)
    told = told + #waiting
    if ended == 'completed' then
      for _, edge in ipairs(waiting) do settle_completed(edge.key, {job}, {has[3] or 'null'}) end
    elseif ended then
      settle_failed(job, has[4] or '', waiting)
    else
      settle_failed(job, 'the job ' .. REMOVED, waiting, nil, REMOVED)
    end
    for _, edge in ipairs(waiting) do count_move(q, edge.flow, 'waiting', ended or 'failed') end
    redis.call('HDEL', listed, job)
    if not has[1] then redis.call('DEL', further_parents_key(job)) end
  end
end
write_counts()
wake_workers()
return reply{told = told, marked = marked}
