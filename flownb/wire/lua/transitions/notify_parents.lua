--- notify_parents: shared jobs have ended, or are gone, and not all of their parents know.
-- Another program's worker that ended or removed a shared job knows its first parent only; and a call that ends a job
-- leaves many further parents to this one. waiting-children -> waiting, prioritized, delayed or failed, as each parent's
-- own policy has it. Sent twice, the call notifies nobody twice.
-- @keys    queues
-- @args    now jobs
-- @returns notified deferred rest
-- @errors
-- @use     types queue counts parents notify
-- @row     shared_job key cursor

-- `cursor` is where to go on among the further parents, '0' at first; `rest` are the jobs that are not done, alike.
-- `deferred` are first parents that another program only marked: fail_deferred_parents is for them.
local REMOVED = 'was removed by another program'
local MOST_LOOKED_AT = 100 -- parents a call
local notified, deferred, rest, looked_at = 0, {}, {}, 0

-- How a job has ended, 'removed' for one that is gone; false while it has not.
local function end_of(q, id, has)
  if not has[1] then return 'removed' end
  return has[2] and ended_as(q, id)
end

-- Some of a job's further parents, and where to go on; nil when those were the last.
local function some_parents(job, cursor)
  local page = attempt('HSCAN', further_parents_key(job), cursor, 'COUNT', MOST_LOOKED_AT) or {'0', {}}
  looked_at = looked_at + #page[2] / 2
  return further_links(page[2]), page[1] ~= '0' and page[1] or nil
end

-- The first parent of a job that is gone: only the list of shared jobs still has it.
local function first_parent(listed)
  local policy, first = listed:match('^(%a*) (.+)$')
  return first and is_sound_job(first) and {key = first, policy = policy}
end

local function waiting_for(job, links)
  local waiting = {}
  for _, link in ipairs(links) do
    if redis.call('SISMEMBER', link.key .. ':dependencies', job) == 1 then waiting[#waiting + 1] = link end
  end
  return waiting
end

local function notify(job, has, ended, waiting)
  if ended == 'completed' then
    for _, link in ipairs(waiting) do notify_completed(link.key, {job}, {has[3] or 'null'}) end
  elseif ended == 'failed' then
    notify_failed(job, has[4] or '', waiting)
  else
    notify_failed(job, 'the job ' .. REMOVED, waiting, nil, REMOVED)
  end
  notified = notified + #waiting
end

for _, packed in ipairs(args.jobs) do
  local shared_job = shared_job_of(packed)
  local job = shared_job.key
  local q, id = queue_and_id(job)
  local has = fields_of(job, 'name', 'finishedOn', 'returnvalue', 'failedReason')
  local ended = is_kind(job, 'hash') and end_of(q, id, has)
  if ended and looked_at >= MOST_LOOKED_AT then
    rest[#rest + 1] = packed
  elseif ended then
    local listed = field_of(shared_key(job), job) or ' '
    local told = listed:match('^told([ %d]+)$')
    local rows = told and numbers_in(told)
    local links, go_on = some_parents(job, shared_job.cursor)
    local first = shared_job.cursor == '0' and not told and first_parent(listed)
    if first and ended == 'removed' then table.insert(links, 1, first) end
    if first and ended == 'failed' then deferred[#deferred + 1] = first.key end
    local waiting = waiting_for(job, links)
    notify(job, has, ended, waiting)
    for _, link in ipairs(waiting) do
      count_move(q, link.flow, 'waiting', ended == 'completed' and 'completed' or 'failed')
      count_rows(q, link.flow, rows)
    end
    if go_on then
      rest[#rest + 1] = {job, go_on}
    else
      attempt('HDEL', shared_key(job), job)
      if ended == 'removed' then redis.call('DEL', further_parents_key(job)) end
    end
  end
end
write_counts()
wake_workers()
return reply{notified = notified, deferred = deferred, rest = rest}
