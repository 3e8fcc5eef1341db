-- holds: a service wants to be left alone, so a queue starts nothing; and since when it has said nothing else.
-- @touches limiter meta
-- @use     types queue

local LIMITED_BY_HAND = 9007199254740991
local MOST_DOUBLED_MS = 60000    -- that a queue is held where the service does not say for how long
local LIMITED_TOO_LONG_MS = 600000 -- after so long without another answer the quota may be used up: flows pause
local FORGOTTEN_MS = 120000      -- after a hold; a call that began later says nothing of those before

local limited_flows = {} -- {queue's name, flow}: every call of the queue has been limited for too long

-- The field `limited` of a queue's `meta`: since when every call was limited, when the last hold began, when it ends, and
-- how often in a row the service has not said for how long.
local function read_limited(q, began)
  max_events(q) -- which reads the field as well
  local since, set, ends, unsaid = (q.limited or ''):match('^(%d+) (%d+) (%d+) (%d+)$')
  if not since or began > ends + FORGOTTEN_MS then return {since = now, set = -1, ends = 0, unsaid = 0} end
  return {since = tonumber(since), set = tonumber(set), ends = tonumber(ends), unsaid = tonumber(unsaid)}
end

-- A hold takes the place of the limiter's window, in which jobs have begun. Where that ends later than the hold, the field
-- `window` of the queue's `meta` keeps it: `<jobs begun> <its end>`.
local function keep_window(q, hold_ends)
  local left, used = redis.call('PTTL', q.limiter), tonumber(attempt('GET', q.limiter))
  if used and used < LIMITED_BY_HAND and now + left > hold_ends then
    attempt('HSET', q.meta, 'window', int(used) .. ' ' .. int(now + left))
  end
end

-- The hold is over: the window in `text` goes on, if it has not ended. Returns how many jobs have begun in it, and the ms
-- until its end.
local function go_on_with_window(q, text)
  attempt('HDEL', q.meta, 'window')
  local used, ends = text:match('^(%d+) (%d+)$')
  local left = (tonumber(ends) or 0) - now
  if left <= 0 then return 0, 1 end
  redis.call('SET', q.limiter, used, 'PX', int(left))
  return tonumber(used), left
end

-- The queue starts nothing for `hold` ms; with 0 for a second, doubled with each hold in a row. Calls that had begun before
-- the last hold are no new ones, and none makes a longer hold shorter. `began` is when the call began.
local function hold_queue(q, hold, began, flow)
  if not hold then return end
  local has = read_limited(q, began)
  if hold == 0 then
    if began >= has.set then has.unsaid = has.unsaid + 1 end
    hold = math.min(1000 * 2 ^ math.min(math.max(has.unsaid - 1, 0), 10), MOST_DOUBLED_MS)
  end
  if began >= has.set then has.set = now end
  has.ends = math.max(has.ends, now + hold)
  q.limited = table.concat({int(has.since), int(has.set), int(has.ends), int(has.unsaid)}, ' ')
  attempt('HSET', q.meta, 'limited', q.limited)
  keep_window(q, has.ends)
  redis.call('SET', q.limiter, int(LIMITED_BY_HAND), 'PX', int(has.ends - now))
  if flow and now - has.since >= LIMITED_TOO_LONG_MS then limited_flows[#limited_flows + 1] = {q.base, flow} end
end

-- A call of the queue was answered in another way.
local function forget_limited(q)
  if q.limited then
    attempt('HDEL', q.meta, 'limited')
    q.limited = nil
  end
end
