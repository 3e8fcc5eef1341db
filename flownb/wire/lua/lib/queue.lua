-- queue: names of a queue's keys, its events, its settings, and waking its workers.
-- @touches meta events marker
-- @use     types

local queues_seen = {}

-- A queue's keys, each made when first asked for: a call touches few of them.
local KEYS_OF_A_QUEUE = {
  id = ':id', meta = ':meta', events = ':events', marker = ':marker', limiter = ':limiter', pc = ':pc',
  wait = ':wait', paused = ':paused', active = ':active', delayed = ':delayed', prioritized = ':prioritized',
  waiting_children = ':waiting-children', completed = ':completed', failed = ':failed',
  stalled = ':stalled', stalled_check = ':stalled-check',
}
local queue_shape = {
  __index = function(q, name)
    local suffix = KEYS_OF_A_QUEUE[name]
    if not suffix then return nil end
    local key = q.base .. suffix
    q[name] = key
    return key
  end,
}

-- One shape for every queue, whether it was named in the call or found through a parent's key.
local function queue_at(base)
  local q = queues_seen[base]
  if not q then
    q = setmetatable({base = base}, queue_shape)
    queues_seen[base] = q
  end
  return q
end

local function prefix_of(q) return q.base:match('^(.*):[^:]+$') end

local function job_key(q, id) return q.base .. ':' .. id end

-- A job's key, cut into its queue and its id.
local function queue_and_id(key)
  local base, id = base_and_id(key)
  return queue_at(base or ''), id or key
end

-- Keys between which jobs move. Most queues lack most of the second ones, which are asked for together.
local PLACES = {meta = 'hash', wait = 'list', active = 'list', completed = 'zset', waiting_children = 'zset'}
local RARE_PLACES = {paused = 'list', delayed = 'zset', prioritized = 'zset', failed = 'zset'}

local function have_kinds(q, places)
  local are_whole = true
  for name, kind in pairs(places) do are_whole = is_kind(q[name], kind) and are_whole end
  return are_whole
end

-- May jobs of this queue move? Not where one of the keys between which they move has a wrong type.
local function is_sound(q)
  if q.is_whole == nil then
    local rare = redis.call('EXISTS', q.paused, q.delayed, q.prioritized, q.failed)
    q.is_whole = have_kinds(q, PLACES) and (rare == 0 or have_kinds(q, RARE_PLACES))
  end
  return q.is_whole
end

-- How a job has ended, by the set that holds it; false when none of these does.
local function ended_as(q, id)
  return is_sound(q) and (redis.call('ZSCORE', q.completed, id) and 'completed' or redis.call('ZSCORE', q.failed, id) and 'failed')
end

local texts = {} -- whole number -> its text: the jobs of a call have many numbers in common

-- Redis text of a whole number: Lua would write large ones with an exponent.
local function int(n)
  local text = texts[n]
  if not text then
    text = n == 0 and '0' or string.format('%.0f', n) -- not '-0'
    texts[n] = text
  end
  return text
end

local function max_events(q)
  if not q.max_events then
    local has = fields_of(q.meta, 'opts.maxLenEvents', 'limited', 'limits')
    local set = has[1]
    q.limited, q.limits = has[2] or nil, has[3] or nil
    if not set then attempt('HSET', q.meta, 'opts.maxLenEvents', '10000') end
    q.max_events = set and #set < 16 and set:match('^%d+$') or '10000'
  end
  return q.max_events
end

local function note_step(q, event, _, id)
  if not id then return end
  local about = fields_of(q.base .. ':' .. id, 'name', 'fl', 'ats', 'failedReason', 'why')
  steps[#steps + 1] = {q.base, event, id, about}
end

-- Events tell of jobs; where they cannot be written, jobs move on.
local function emit(q, event, ...)
  redis.pcall('XADD', q.events, '*', 'event', event, ...)
  if steps then note_step(q, event, ...) end
end

-- What most jobs say, each once.
local function emit_active(q, id)
  redis.pcall('XADD', q.events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  if steps then note_step(q, 'active', 'jobId', id) end
end

local function emit_completed(q, id, value)
  redis.pcall('XADD', q.events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
  if steps then note_step(q, 'completed', 'jobId', id) end
end

local function emit_and_trim(q, event, ...)
  redis.pcall('XADD', q.events, 'MAXLEN', '~', max_events(q), '*', 'event', event, ...)
  if steps then note_step(q, event, ...) end
end

local function trim_events(q)
  redis.pcall('XTRIM', q.events, 'MAXLEN', '~', max_events(q))
end

local function is_blocked(q)
  local set = redis.call('HMGET', q.meta, 'paused', 'concurrency')
  if set[1] then return true end
  local most = tonumber(set[2])
  return most and redis.call('LLEN', q.active) >= most or false
end

-- Jobs ask for waking one by one (`has_new_work`, `has_new_delay`), and who took some where more may be left
-- (`has_more`); workers are woken once a queue, when all is written.
local function wake_workers()
  for _, q in pairs(queues_seen) do
    if q.has_more or q.has_new_work and not is_blocked(q) then attempt('ZADD', q.marker, 0, '0') end
    if q.has_new_delay then
      local first = redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')
      if first[2] then attempt('ZADD', q.marker, first[2] / 4096, '1') end
    end
  end
end
