--- repair_states: a job that stands twice or nowhere is put where it belongs; an id without data is taken out.
-- Where it belongs its own fields say: what has ended stands among the ended, what waits for children among those that
-- do, the rest in line. One that stands in one place stays there, unless it is in line before its children have ended.
-- The counts of its flow are as they were: nobody knows what they were told. Sent twice, it changes nothing.
-- @keys    queues
-- @args    now jobs
-- @returns
-- @errors
-- @use     queue enqueue

local LISTS = {wait = true, paused = true, active = true}
local ENDS = {'completed', 'failed'}
-- Of several places the first one stays; `active` is left to those that have a lock.
local OPEN = {'waiting-children', 'delayed', 'prioritized', 'wait', 'paused', 'active'}

-- Place -> how often the id stands there, and how often in all.
local function places_of(q, id)
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

-- Of a list the one that runs first stays.
local function take_out(q, id, places, kept)
  for name, times in pairs(places) do
    local key, extra = q.base .. ':' .. name, name == kept and times - 1 or times
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

local function right_place(job, has, places)
  if has[2] then return has[3] and 'completed' or 'failed' end
  if places.active and redis.call('EXISTS', job .. ':lock') == 1 then return 'active' end
  if waits_first(job, has) and (not has[4] or not next(places)) then return 'waiting-children' end
  for i = waits_first(job, has) and 1 or 2, #OPEN do
    if places[OPEN[i]] then return OPEN[i] end
  end
end

-- nothing -> the place where it belongs; in line when none is said.
local function put(q, id, job, place, finished)
  if place == 'completed' or place == 'failed' then
    redis.call('ZADD', q.base .. ':' .. place, finished, id)
  elseif place then
    redis.call('ZADD', q.waiting_children, now_text, id)
    emit_and_trim(q, 'waiting-children', 'jobId', id)
  else
    local has = redis.call('HMGET', job, 'priority', 'delay')
    local delay = tonumber(has[2]) or 0
    if delay > 0 then
      put_off(q, id, now + delay)
      emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(now + delay))
    else
      enqueue(q, id, tonumber(has[1]) or 0, 'R')
      emit_and_trim(q, 'waiting', 'jobId', id)
    end
  end
end

for _, job in ipairs(args.jobs) do
  local q, id = queue_and_id(job)
  local places, n = places_of(q, id)
  local has = redis.call('HMGET', job, 'name', 'finishedOn', 'returnvalue', 'ats', 'defa')
  local in_line = places.wait or places.paused or places.prioritized or places.delayed
  local early = n == 1 and in_line and not has[2] and not has[4] and waits_first(job, has)
  if redis.call('EXISTS', job) == 0 then
    take_out(q, id, places)
  elseif has[1] and redis.call('HEXISTS', job, 'data') == 1 and (n ~= 1 or early) then
    local place = right_place(job, has, places)
    take_out(q, id, places, place)
    if not (place and places[place]) then put(q, id, job, place, has[2]) end
  end
end
wake_workers()
return reply{}
