--- repair_states: a job that is in two states or in none gets the one it should be in; an id without data is taken out.
-- The job's own fields say which that is: an end, or an end to come; a parent with pending children waits for them; any
-- other job waits for a worker. A job in one state keeps it, unless it waits for a worker before its children have ended.
-- A job with a damaged key stays where it is. The counts of its flow are as they were: nobody knows what they were told. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now jobs
-- @returns
-- @errors
-- @use     types queue enqueue parents

local LISTS = {wait = true, paused = true, active = true}
local ENDS = {'completed', 'failed'}
-- Of several keys that hold an id the first one keeps it; `active` keeps only ids that have a lock.
local OPEN = {'waiting-children', 'delayed', 'prioritized', 'wait', 'paused', 'active'}

-- Key of the queue -> how often it holds the id; and how often all do.
local function holders_of(q, id)
  local found, n = {}, 0
  for _, names in ipairs({ENDS, OPEN}) do
    for _, name in ipairs(names) do
      local key = q.base .. ':' .. name
      local times = LISTS[name] and #redis.call('LPOS', key, id, 'COUNT', 0)
        or not LISTS[name] and redis.call('ZSCORE', key, id) and 1 or 0
      if times > 0 then found[name], n = times, n + times end
    end
  end
  return found, n
end

-- Of a list that keeps the id, the one that runs first stays.
local function take_out(q, id, held, keeper)
  for name, times in pairs(held) do
    local key, extra = q.base .. ':' .. name, name == keeper and times - 1 or times
    if extra > 0 then
      if LISTS[name] then redis.call('LREM', key, extra, id) else redis.call('ZREM', key, id) end
    end
  end
end

-- `has` is {name, finishedOn, returnvalue, ats, defa}. Does it wait for children before it may start?
local function waits_first(job, has)
  return redis.call('EXISTS', job .. ':dependencies') == 1 and not has[5]
    and redis.call('EXISTS', job .. ':failed') == 0
end

local function right_holder(job, has, held)
  if has[2] then return has[3] and 'completed' or 'failed' end
  if held.active and redis.call('EXISTS', job .. ':lock') == 1 then return 'active' end
  if waits_first(job, has) and (not has[4] or not next(held)) then return 'waiting-children' end
  for i = waits_first(job, has) and 1 or 2, #OPEN do
    if held[OPEN[i]] then return OPEN[i] end
  end
end

-- nothing -> any state; without a `holder` the job waits for a worker.
local function put(q, id, job, holder, finished)
  if holder == 'completed' or holder == 'failed' then
    redis.call('ZADD', q.base .. ':' .. holder, int(number(finished)), id)
  elseif holder then
    redis.call('ZADD', q.waiting_children, now_text, id)
    emit_and_trim(q, 'waiting-children', 'jobId', id)
  else
    local has = redis.call('HMGET', job, 'priority', 'delay')
    local delay = number(has[2])
    if delay > 0 then
      put_off(q, id, now + delay)
      emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(now + delay))
    else
      enqueue(q, id, number(has[1]), 'R')
      emit_and_trim(q, 'waiting', 'jobId', id)
    end
  end
end

local function repair(q, id, job)
  local held, n = holders_of(q, id)
  local has = redis.call('HMGET', job, 'name', 'finishedOn', 'returnvalue', 'ats', 'defa')
  local in_line = held.wait or held.paused or held.prioritized or held.delayed
  local early = n == 1 and in_line and not has[2] and not has[4] and waits_first(job, has)
  if redis.call('EXISTS', job) == 0 then
    take_out(q, id, held)
  elseif has[1] and redis.call('HEXISTS', job, 'data') == 1 and (n ~= 1 or early) then
    local holder = right_holder(job, has, held)
    take_out(q, id, held, holder)
    if not (holder and held[holder]) then put(q, id, job, holder, has[2]) end
  end
end

for _, job in ipairs(args.jobs) do
  local q, id = queue_and_id(job)
  if is_sound_job(job) then repair(q, id, job) end
end
wake_workers()
return reply{}
