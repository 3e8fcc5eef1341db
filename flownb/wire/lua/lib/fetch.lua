-- fetch: waiting or prioritized -> active; jobs that are due leave delayed first. A job begins with this call where the
-- worker has a slot free for it; one that is taken ahead waits in the worker, and counts as waiting until it begins.
-- @touches wait prioritized pc active lock events
-- @use     types queue counts enqueue limits bounds may_start
-- @map     worker token lock_ms layout name limiters shares free alone

local MOST_POPPED = 1000 -- jobs a call, some of which may turn out not to start

-- Positions in what `read_for_worker` returns, and behind.
local NAME, DATA, ATS, DEFA, FLOW, SUSPECT, IS_AHEAD, IS_UNWEIGHED = 1, 2, 7, 8, 12, 15, 16, 17

local suspect_in = nil -- a queue whose next job runs alone, so that this worker must run nothing else when it asks for it

local function pop(q, want)
  local ids = redis.call('RPOP', q.wait, want) or {}
  q.ranks = {}
  if #ids < want then
    local ranked = redis.call('ZPOPMIN', q.prioritized, want - #ids)
    q.from_wait = #ids
    for i = 1, #ranked, 2 do
      ids[#ids + 1] = ranked[i]
      q.ranks[ranked[i]] = ranked[i + 1]
    end
    if #ids < want then redis.call('DEL', q.pc) end
  else
    q.from_wait = #ids
  end
  return ids
end

-- The ids that were popped, from the one at `first` on, go back to where they were.
local function put_back(q, ids, first)
  for i = #ids, first, -1 do
    if q.ranks[ids[i]] then redis.call('ZADD', q.prioritized, q.ranks[ids[i]], ids[i])
    else redis.call('RPUSH', q.wait, ids[i]) end
  end
end

-- An id whose hash is gone or gutted (evicted, deleted by hand) is never run with made-up data. Where another type of key
-- has taken the job's place, that key stays as it is.
local function fail_without_data(q, id, job)
  local reason = 'job data missing: the hash was evicted or deleted'
  if is_kind(job, 'hash') then
    redis.call('HSET', job, 'name', '?', 'data', '{}', 'opts', '{}', 'timestamp', now_text,
               'failedReason', reason, 'finishedOn', now_text, 'why', 'missing')
  else
    reason = 'job data missing: its key holds something else than a job'
  end
  redis.call('ZADD', q.failed, now_text, id)
  emit(q, 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'active')
end

-- The fields that a worker needs, in the order in which the store reads them; none of a key that is no hash.
local function read_for_worker(job)
  local fields = redis.pcall('HMGET', job, 'name', 'data', 'opts', 'timestamp', 'priority', 'atm', 'ats', 'defa',
                             'parentKey', 'parent', 'stacktrace', 'fl', 'bind', 'rjk', 'suspect')
  return fields.err and {} or fields
end

-- `processedOn` says that a job has begun: it is written with the beginning, and what an earlier run has left goes.
local function start(q, id, job, fields, from, worker)
  local attempts_started, is_ahead = number(fields[ATS]) + 1, worker.free == 0
  redis.call('SET', job .. ':lock', worker.token, 'PX', worker.lock_ms)
  fields[ATS], fields[IS_AHEAD] = attempts_started, is_ahead
  if worker.name then redis.call('HSET', job, 'pb', worker.name) end
  if is_ahead then
    redis.call('HSET', job, 'ats', int(attempts_started))
    if attempts_started > 1 then redis.call('HDEL', job, 'processedOn') end
    return count_move(q, fields[FLOW], from, 'waiting')
  end
  if worker.free then worker.free = worker.free - 1 end
  redis.call('HSET', job, 'processedOn', now_text, 'ats', int(attempts_started))
  emit_active(q, id)
  count_move(q, fields[FLOW], from, 'active')
end

-- In how many ms a queue that gave less than it could may have more.
local function ask_again(q, popped)
  if popped >= MOST_POPPED then return 1 end
  local first = redis.call('ZRANGE', q.delayed, 0, 0, 'WITHSCORES')
  if first[2] then return math.max(math.floor(first[2] / 4096) - now, 1) end
end

-- Where a queue has limits by weight: may one more of its jobs begin?
local function has_room(q, job, fields)
  if fields[DEFA] then return true end
  local may_begin, is_unweighed = may_use(q, job)
  if is_unweighed then fields[IS_UNWEIGHED] = true end
  return may_begin
end

-- Start up to `want` jobs of one queue and add them to `fetched`. Returns how many, and in how many ms to ask again where
-- there were fewer.
local function fetch(q, want, worker, fetched)
  if not is_sound(q) then return 0 end
  promote_due(q)
  local room, again = allowance(q, want, worker.limiters and worker.limiters[q.base], worker.free)
  if room == 0 then return 0, again end
  local ids_started, rows, charged, popped, held, may_have_more = {}, {}, 0, 0, 0, true
  local started = 0
  repeat
    local asked = room - started
    local ids = pop(q, asked)
    may_have_more = #ids == asked
    for i = 1, #ids do
      local id = ids[i]
      local job, from = q.base .. ':' .. id, i <= q.from_wait and 'waiting' or 'prioritized'
      local fields = read_for_worker(job)
      local flow = fields[FLOW]
      local is_bound = flow and not free_flows[flow] and not is_free(q, flow, worker.layout)
      if not (fields[NAME] and fields[DATA]) then
        if id:sub(1, 2) ~= '0:' then fail_without_data(q, id, job) end -- BullMQ 4 kept markers in the list: `0:...`
      elseif is_bound and not may_start(q, id, job, flow, from, worker.layout) then
        held = held + 1
      elseif is_bound and is_full(q, flow) then
        wait_aside(q, id, flow, from)
        held = held + 1
      elseif fields[SUSPECT] and not worker.alone then
        put_back(q, ids, i)
        suspect_in, room, may_have_more = q.base, started, true
        break
      elseif is_bound and worker.free == 0 and is_counted(q, flow) or q.weight_limits and not has_room(q, job, fields) then
        put_back(q, ids, i)
        room, may_have_more = started, true
        break
      else
        start(q, id, job, fields, from, worker)
        started = started + 1
        ids_started[started], rows[started] = id, fields
        if not fields[DEFA] then charged = charged + 1 end
      end
    end
    popped = popped + #ids
  until #ids == 0 or held == 0 or started == room or popped >= MOST_POPPED
  if started > 0 then
    redis.call('LPUSH', q.active, unpack(ids_started))
    count_against_limit(q, charged)
    fetched[#fetched + 1] = {q.base, ids_started, rows}
  end
  -- The worker that woke took the marker away; where jobs may be left it is put back for the next idle worker, unless
  -- limits let nothing begin. Where none are left, nobody is woken for what this call itself has put in line.
  q.has_more = may_have_more and popped > 0 and not (q.full_ms and started == 0)
  if not may_have_more then q.has_new_work = nil end
  return started, q.full_ms or started < room and ask_again(q, popped) or nil
end
