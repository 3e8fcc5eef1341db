-- fetch: waiting or prioritized -> active.
-- @touches wait prioritized pc active limiter lock events marker
-- @use     queue counts enqueue needed set_aside cancel

local LIMITED_BY_HAND = 9007199254740991
local MOST_LOOKED_AT = 1000 -- jobs a call that are taken from the line and may turn out not to start

-- The fields a worker needs, in the order in which `store.py` reads them.
local FIELDS = {
  'name', 'data', 'opts', 'timestamp', 'priority', 'atm', 'ats', 'defa',
  'parentKey', 'parent', 'stacktrace', 'fl', 'bind',
}

-- How many jobs this queue may start now, and in how many ms to ask again if it may not.
-- `limiter` is a worker's own {max, duration}; the queue's own settings go before it.
local function allowance(q, want, limiter)
  local set = redis.call('HMGET', q.meta, 'paused', 'concurrency', 'max', 'duration')
  if set[1] then return 0 end
  if set[2] then want = math.min(want, tonumber(set[2]) - redis.call('LLEN', q.active)) end
  -- 0 is the last fraction of a millisecond of a window, not the next window. Without an end (-1) nothing is limited.
  local left = redis.call('PTTL', q.limiter)
  local used = left >= 0 and tonumber(redis.call('GET', q.limiter)) or 0
  left = math.max(left, 1)
  if used >= LIMITED_BY_HAND then return 0, left end
  local max = tonumber(set[3]) or (limiter and limiter.max)
  if max then
    q.window = (limiter and limiter.duration) or tonumber(set[4]) or 1000
    if used >= max then return 0, left end
    want = math.min(want, max - used)
  end
  return math.max(want, 0)
end

local function count_against_limit(q, n)
  if q.window and n > 0 and redis.call('INCRBY', q.limiter, n) == n then
    redis.call('PEXPIRE', q.limiter, q.window)
  end
end

local function pop(q, want)
  local ids = redis.call('RPOP', q.wait, want) or {}
  if #ids < want then
    local ranked = redis.call('ZPOPMIN', q.prioritized, want - #ids)
    q.from_wait = #ids
    for i = 1, #ranked, 2 do ids[#ids + 1] = ranked[i] end
    if #ids < want then redis.call('DEL', q.pc) end
  else
    q.from_wait = #ids
  end
  return ids
end

-- An id whose hash is gone or gutted (evicted, deleted by hand) is never run with made-up data.
local function park_ghost(q, id, job)
  local reason = 'job data missing: the hash was evicted or deleted'
  redis.call('HSET', job, 'name', '?', 'data', '{}', 'opts', '{}', 'timestamp', now_text,
             'failedReason', reason, 'finishedOn', now_text, 'why', 'missing')
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'active')
end

-- A job of a paused flow is put aside when it comes to the head of its line, one that nobody needs any more ends.
local function may_start(q, id, job, flow, from)
  if is_over(q, job, flow) then
    cancel(q, id, from)
  elseif not is_needed(q, job, flow, 'paused') then
    put_aside(q, id, flow, from)
  else
    return true
  end
end

-- Take up to `want` jobs of one queue into the list `taken`. `worker` says token, lock_ms, name
-- and the limiters of queues that have one. Returns in how many ms to come again when fewer were there.
local function take(q, want, worker, taken)
  promote_due(q)
  local room, again = allowance(q, want, worker.limiters and worker.limiters[q.base])
  if room == 0 then return again end
  local started, charged, looked, held = {}, 0, 0, 0
  repeat
    local ids = pop(q, room - #started)
    for i, id in ipairs(ids) do
      local job, from = job_key(q, id), i <= q.from_wait and 'waiting' or 'prioritized'
      local fields = redis.call('HMGET', job, unpack(FIELDS))
      if not (fields[1] and fields[2]) then
        if id:sub(1, 2) ~= '0:' then park_ghost(q, id, job) end -- BullMQ 4 kept markers in the line: `0:...`
      elseif fields[12] and not may_start(q, id, job, fields[12], from) then
        held = held + 1
      else
        started[#started + 1] = id
        if not fields[8] then charged = charged + 1 end
        redis.call('SET', job .. ':lock', worker.token, 'PX', worker.lock_ms)
        emit(q, 'active', 'jobId', id, 'prev', 'waiting')
        fields[7] = (tonumber(fields[7]) or 0) + 1
        redis.call('HSET', job, 'processedOn', now_text, 'ats', fields[7])
        if worker.name then redis.call('HSET', job, 'pb', worker.name) end
        count_move(q, fields[12], from, 'active')
        taken[#taken + 1] = {q.base, id, fields}
      end
    end
    looked = looked + #ids
  until #ids == 0 or held == 0 or #started == room or looked >= MOST_LOOKED_AT
  if #started > 0 then
    redis.call('LPUSH', q.active, unpack(started))
    count_against_limit(q, charged)
  end
  -- Waking took the marker away: whoever takes an id puts it back for the next idle worker.
  if looked > 0 then redis.call('ZADD', q.marker, 0, '0') end
  if #started < room then
    if looked >= MOST_LOOKED_AT then return 1 end
    local first = redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')
    if first[2] then return math.max(math.floor(first[2] / 4096) - now, 1) end
  end
end
