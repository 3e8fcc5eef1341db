--- notify_parents: shared jobs that have ended, or are gone, with parents that were not told; they are told.
-- Of those that another program's worker ended or removed, as BullMQ knows a job's first parent only; and of those with
-- too many further parents for the call that ended them. waiting-children -> waiting, prioritized, delayed or failed, as
-- each parent's own policy has it. Sent twice, it tells nobody twice.
-- @keys    queues
-- @args    now jobs
-- @returns told marked rest
-- @errors
-- @use     queue counts parents

local REMOVED = 'was removed by another program'
local MOST_LOOKED_AT = 100 -- parents a call

-- A job: {key, where to go on among its further parents, '0' at first}; `rest` are those that are not done, alike.
-- `marked` are first parents that another program only marked: fail_deferred_parents is for them.
local told, marked, rest, looked_at = 0, {}, {}, 0

-- How a job has ended, one that is gone too; false while it has not.
local function end_of(q, id, has)
  if not has[1] then return 'removed' end
  return has[2] and ended_as(q, id)
end

-- Some of a job's further parents, and where to go on; nil when those were the last.
local function some_parents(job, cursor)
  local page = redis.call('HSCAN', further_parents_key(job), cursor, 'COUNT', MOST_LOOKED_AT)
  looked_at = looked_at + #page[2] / 2
  return edges_of(page[2]), page[1] ~= '0' and page[1] or nil
end

-- The first parent of a job that is gone: that stands in the list only.
local function first_parent(listed)
  local policy, first = listed:match('^(%a*) (.+)$')
  return first and {key = first, policy = policy}
end

local function waiting_for(job, edges)
  local waiting = {}
  for _, edge in ipairs(edges) do
    if redis.call('SISMEMBER', edge.key .. ':dependencies', job) == 1 then waiting[#waiting + 1] = edge end
  end
  return waiting
end

local function tell(q, job, has, ended, waiting)
  if ended == 'completed' then
    for _, edge in ipairs(waiting) do settle_completed(edge.key, {job}, {has[3] or 'null'}) end
  elseif ended == 'failed' then
    settle_failed(job, has[4] or '', waiting)
  else
    settle_failed(job, 'the job ' .. REMOVED, waiting, nil, REMOVED)
  end
  told = told + #waiting
end

for _, asked in ipairs(args.jobs) do
  local job, cursor = asked[1], asked[2]
  local q, id = queue_and_id(job)
  local has = redis.call('HMGET', job, 'name', 'finishedOn', 'returnvalue', 'failedReason')
  local ended = end_of(q, id, has)
  if ended and looked_at >= MOST_LOOKED_AT then
    rest[#rest + 1] = asked
  elseif ended then
    local listed = redis.call('HGET', shared_key(job), job) or ' '
    local done, failed = listed:match('^told (%d+) (%d+)$')
    local edges, go_on = some_parents(job, cursor)
    local first = cursor == '0' and not done and first_parent(listed)
    if first and ended == 'removed' then table.insert(edges, 1, first) end
    if first and ended == 'failed' then marked[#marked + 1] = first.key end
    local waiting = waiting_for(job, edges)
    tell(q, job, has, ended, waiting)
    for _, edge in ipairs(waiting) do
      count_move(q, edge.flow, 'waiting', ended == 'completed' and 'completed' or 'failed')
      if done then count_rows(q, edge.flow, {tonumber(done), tonumber(failed)}) end
    end
    if go_on then
      rest[#rest + 1] = {job, go_on}
    else
      redis.call('HDEL', shared_key(job), job)
      if ended == 'removed' then redis.call('DEL', further_parents_key(job)) end
    end
  end
end
write_counts()
wake_workers()
return reply{told = told, marked = marked, rest = rest}
