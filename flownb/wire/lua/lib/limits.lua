-- limits: how many jobs a queue may start now, by its pause, its global concurrency and its rate limits.
-- @touches limiter
-- @use     types queue holds weights
-- @map     limiter max duration

-- How many jobs this queue may start now, and in how many ms to ask again if it may start none.
-- `limiter` is the worker's own; the queue's settings go before it. `free` are the worker's slots that run nothing.
local function allowance(q, want, limiter, free)
  local set = redis.call('HMGET', q.meta, 'paused', 'concurrency', 'max', 'duration', 'limits', 'window')
  if set[1] then return 0 end
  local most = tonumber(set[2])
  if most then want = math.min(want, most - redis.call('LLEN', q.active)) end
  -- A PTTL of 0 is the last fraction of a millisecond of a window. A key without an end (-1) limits nothing.
  local left = redis.call('PTTL', q.limiter)
  local used = left >= 0 and tonumber(attempt('GET', q.limiter)) or 0
  left = math.max(left, 1)
  if used == 0 and set[6] then used, left = go_on_with_window(q, set[6]) end
  if used >= LIMITED_BY_HAND then return 0, left end
  local max = tonumber(set[3]) or (limiter and limiter.max)
  if max then
    q.window = (limiter and limiter.duration) or tonumber(set[4]) or 1000
    if used >= max then return 0, left end
    want = math.min(want, max - used)
  end
  local by_weight = weight_limits(q, set[5])
  if free and (most or max or by_weight) then want = math.min(want, free) end -- what is counted is not taken ahead
  return math.floor(math.max(want, 0))
end

local function count_against_limit(q, n)
  if q.window and n > 0 and attempt('INCRBY', q.limiter, n) == n then
    attempt('PEXPIRE', q.limiter, int(q.window))
  end
end

-- A job that was charged to the present window, and has not begun: it was taken `age` ms ago.
local function refund_limit(q, age, limiter)
  local left, used = redis.call('PTTL', q.limiter), tonumber(attempt('GET', q.limiter)) or 0
  local window = (limiter and limiter.duration) or number(field_of(q.meta, 'duration') or 1000)
  if left > 0 and used > 0 and used < LIMITED_BY_HAND and age <= window - left then attempt('DECR', q.limiter) end
end
