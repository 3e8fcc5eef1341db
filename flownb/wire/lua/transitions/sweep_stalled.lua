--- sweep_stalled: active -> waiting, for jobs that lost their lease; once an interval, whoever comes first.
-- A job is looked at in one sweep and moved in the next, so that its worker has time to renew the lease. Charged is who had
-- begun, as far as that was told: `stall` says what follows.
-- `is_idle` says that no queue has a job that waits or runs: then nothing else is looked at, and the caller may come again
-- after `idle` ms. `news` is how many of the queues nobody had noted as served; `has_shared` says whether there are shared
-- jobs that have not ended, `due` in how many ms something of a flow is to be removed.
-- @keys    queues
-- @args    now interval idle most
-- @returns stalled is_idle news has_shared due
-- @errors
-- @use     types queue counts needed cancel stall bounds

local MOST_LOOKED_AT = 20 -- of the jobs that wait aside, the oldest
local MOST_CALLED = 500    -- of them, a sweep
local QUEUES_A_LOOK = 500

local home = prefix_of(queues[1])

-- Is there any of these keys? One command, as nearly always there is none.
local function is_any(keys)
  for first = 1, #keys, 6 * QUEUES_A_LOOK do
    if redis.call('EXISTS', unpack(keys, first, math.min(first + 6 * QUEUES_A_LOOK - 1, #keys))) > 0 then return true end
  end
  return false
end

local places = {}
for _, q in ipairs(queues) do
  for _, place in ipairs({'wait', 'active', 'prioritized', 'delayed', 'paused', 'stalled'}) do
    places[#places + 1] = q[place]
  end
end
local is_idle, has_shared, due = true, false, nil
places[#places + 1], places[#places + 2] = home .. ':flownb:shared', home .. ':flownb:tidy'
if is_any(places) then
  places[#places], places[#places - 1] = nil, nil
  is_idle = not is_any(places)
  has_shared = redis.call('EXISTS', home .. ':flownb:shared') == 1
  local first = attempt('ZRANGE', home .. ':flownb:tidy', 0, 0, 'WITHSCORES') or {}
  due = first[2] and math.max(tonumber(first[2]) - now, 0)
end

-- With a sweep a worker also says that it serves the queues; that answers why a job waits.
local news, until_then = 0, int(now + 2 * args.interval + (is_idle and args.idle or args.interval))
for first = 1, #queues, QUEUES_A_LOOK do
  local some = {}
  for i = first, math.min(first + QUEUES_A_LOOK - 1, #queues) do
    some[#some + 1] = until_then
    some[#some + 1] = queues[i].base
  end
  news = news + (attempt('ZADD', home .. ':flownb:served', unpack(some)) or 0)
end
if is_idle then
  return reply{stalled = {}, is_idle = true, news = news, has_shared = has_shared, due = due}
end

local stalled = {}
for _, q in ipairs(queues) do
  if is_sound(q) and redis.call('SET', q.stalled_check, int(now), 'PX', args.interval, 'NX') then
    trim_events(q)
    local suspects = attempt('SMEMBERS', q.stalled)
    if suspects then redis.call('DEL', q.stalled) end
    for _, id in ipairs(suspects or {}) do
      local job = job_key(q, id)
      if redis.call('EXISTS', job .. ':lock') == 0 and redis.call('LREM', q.active, 1, id) == 1 then
        local has = fields_of(job, 'fl', 'processedOn')
        local flow, from = has[1], has[2] and 'active' or 'waiting'
        if has[2] then charge_death(job, args.most) else note_unbegun(job, args.most) end
        if is_cancelled(q, job, flow) then
          emit(q, 'stalled', 'jobId', id)
          cancel(q, id, from)
        else
          redis.call('RPUSH', q.wait, id)
          q.has_new_work = true
          emit(q, 'waiting', 'jobId', id, 'prev', 'active')
          emit(q, 'stalled', 'jobId', id)
          count_move(q, flow, from, 'waiting')
        end
        stalled[#stalled + 1] = id
      end
    end
    -- Only jobs without a lease are suspects of the next sweep; `active` is as long as the workers are wide.
    local running = redis.call('LRANGE', q.active, 0, 6999)
    for _, id in ipairs(running) do
      if redis.call('EXISTS', job_key(q, id) .. ':lock') == 0 then attempt('SADD', q.stalled, id) end
    end
  end
end
-- Jobs of a flow with a bound are called in as others end; where one that ran was removed, or the bound, nobody else does it.
for _, q in ipairs(queues) do
  for _, id in ipairs(attempt('LRANGE', q.paused, -MOST_LOOKED_AT, -1) or {}) do
    local flow = field_of(job_key(q, id), 'fl')
    if flow then call_in(q, flow, MOST_CALLED) end
  end
end
write_counts()
wake_workers()
return reply{stalled = stalled, is_idle = false, news = news, has_shared = has_shared, due = due}
