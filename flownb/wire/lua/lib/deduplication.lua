-- deduplication: a job that owns a deduplication id has ended, or goes: the id is free, or the last job kept for it follows.
-- @touches de dn id wait prioritized delayed events
-- @use     types queue enqueue

local function key_of(q, name, deduplication_id) return q.base .. name .. ':' .. deduplication_id end

-- How the next job begins. Its options are BullMQ's; nobody else who could read them is asked.
local function start_options(opts)
  local is_read, decoded = pcall(cjson.decode, opts or '')
  if not is_read or type(decoded) ~= 'table' then return 0, 0, 'L' end
  return number(decoded.delay), number(decoded.priority), decoded.lifo == true and 'R' or 'L'
end

-- nothing -> waiting, prioritized or delayed: what was added last while its owner ran (keepLastIfActive).
local function add_kept(q, deduplication_id, kept)
  local n = attempt('INCR', q.id)
  local id = kept[4] or n and int(n)
  if not id then return end
  local job = job_key(q, id)
  local delay, priority, side = start_options(kept[3])
  redis.call('SET', key_of(q, ':de', deduplication_id), id)
  redis.call('HSET', job, 'name', kept[1], 'data', kept[2] or '{}', 'opts', kept[3] or '{}', 'timestamp', now_text,
             'delay', int(delay), 'priority', int(priority), 'deid', deduplication_id)
  if kept[5] then redis.call('HSET', job, 'rjk', kept[5]) end
  emit(q, 'added', 'jobId', id, 'name', kept[1])
  if delay > 0 then
    put_off(q, id, now + delay)
    emit_and_trim(q, 'delayed', 'jobId', id, 'delay', int(now + delay))
  else
    enqueue(q, id, priority, side)
    emit_and_trim(q, 'waiting', 'jobId', id)
  end
end

-- An id with a time to live is free when that is over.
local function end_deduplication(q, id, deduplication_id)
  local owner, next_one = key_of(q, ':de', deduplication_id), key_of(q, ':dn', deduplication_id)
  if redis.call('PTTL', owner) ~= -1 or attempt('GET', owner) ~= id then return end
  redis.call('DEL', owner)
  local kept = fields_of(next_one, 'name', 'data', 'opts', 'jid', 'rjk')
  if kept[1] then
    add_kept(q, deduplication_id, kept)
    redis.call('DEL', next_one)
  end
end

-- The job is removed: what was kept behind it goes too.
local function drop_deduplication(q, id, deduplication_id)
  local owner = key_of(q, ':de', deduplication_id)
  if attempt('GET', owner) == id then redis.call('DEL', owner, key_of(q, ':dn', deduplication_id)) end
end
