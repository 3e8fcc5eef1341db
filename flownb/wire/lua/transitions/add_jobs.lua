--- add_jobs: nothing -> waiting, prioritized, delayed or waiting-children.
-- Stores jobs, parents before their children, in one go. A job that is there already is not touched:
-- it gains the parent it is added under, and that parent its value if it has one. Sent twice, it adds
-- nothing twice. While `seal` stands among a parent's dependencies, the parent waits for later calls.
-- With `fresh` none of another flow may be there. With `bullmq` all is as BullMQ's own add does it: no job is
-- shared, and `id` counts what was asked for. `under` is a running job that gets children: its run must be the
-- one that asks, and without a flow it becomes a root.
-- @keys    queues
-- @args    now jobs opts parents record seal unseal chunks bullmq fresh under
-- @returns added existing
-- @errors  JOB_EXISTS JOB_ELSEWHERE PARENT_MISSING PARENT_CANNOT_BE_REPLACED FLOW_CANCELLED
-- @use     queue counts enqueue parents add_parent child_jobs needed

-- A job:    {queue, id, name, data, opts, parent} and, where it is more than that, {..., delay, priority, lifo,
--           has_children, bind, prefix_of_flow, keep}; queue, opts and parent are places in the lists beside it,
--           parent is a list of places for a job that has several, false for one that has none.
-- A parent: {key, json, policy, outside}: `outside` when it is not added by this flow.

-- 1. Refuse.
for _, parent in ipairs(args.parents) do
  if parent[4] and redis.call('EXISTS', parent[1]) == 0 then return refuse('PARENT_MISSING', parent[1]) end
end
local job_keys, named, none_exists = {}, {}, true
for i, j in ipairs(args.jobs) do
  local job = job_key(queues[j[1]], j[2])
  if named[job] then none_exists = false end -- an id that comes twice is there the second time
  job_keys[i], named[job] = job, true
end
none_exists = none_exists and redis.call('EXISTS', unpack(job_keys)) == 0

local record = args.record
local flow = record and record.id
if not none_exists then
  for i, j in ipairs(args.jobs) do
    local job, parent = job_keys[i], args.parents[j[6]]
    if args.bullmq and parent and not may_be_adopted(job, parent[1]) then
      return refuse('PARENT_CANNOT_BE_REPLACED', job)
    elseif args.fresh and is_anothers(job, (j[12] or '') .. flow) then
      return refuse('JOB_EXISTS', job)
    end
  end
end
if args.under and not still_runs(args.under) then return refuse('JOB_ELSEWHERE', args.under.key) end

if flow and marks_of(queues[1], flow).cancelled
    and redis.call('HGET', flow_key('flow', queues[1], flow), 'ended') == 'cancelled' then
  return refuse('FLOW_CANCELLED', flow)
end

-- 2. The flow's own record, once.
if record and record.fields then
  local key = flow_key('flow', queues[1], flow)
  if args.under then make_root(args.under.key, flow) end
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'created', now_text, unpack(record.fields))
    local about = key:match('^(.*):flow:[^:]*$')
    redis.call('ZADD', about .. ':flows', now_text, flow)
    if record.named then redis.call('HSET', about .. ':names', record.named, flow) end
  end
  if record.stored then redis.call('HSET', key, 'stored', '1') end
end

-- 3. Jobs.
local added, existing, settled = 0, {}, {}
local line, awaited, awaited_order = {}, {}, {}

local function await(parent, child)
  local children = awaited[parent]
  if not children then
    children = {}
    awaited[parent] = children
    awaited_order[#awaited_order + 1] = parent
  end
  children[#children + 1] = child
end

local function parents_of_new(j)
  if not j[6] then return {} end
  return type(j[6]) == 'table' and j[6] or {j[6]}
end

-- The hash of a job that has no parent, or several, or more than most.
local function store(q, job, j, in_flow)
  local fields = {'name', j[3], 'data', j[4], 'opts', args.opts[j[5]], 'timestamp', now_text,
                  'delay', int(j[7] or 0), 'priority', int(j[8] or 0)}
  local function also(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if in_flow then also('fl', in_flow) end
  if j[11] then also('bind', j[11]) end
  if j[13] then also('keep', j[13]) end
  local above = parents_of_new(j)
  for i, p in ipairs(above) do
    local parent = args.parents[p]
    if i == 1 then
      also('parentKey', parent[1])
      also('parent', parent[2])
      if above[2] then list_shared(job, {key = parent[1], policy = parent[3]}) end
    else
      share(q, job, parent, '')
    end
    await(parent[1], job)
  end
  redis.call('HSET', job, unpack(fields))
end

local function place(q, id, j)
  local delay, priority = j[7] or 0, j[8] or 0
  if j[10] then
    redis.call('ZADD', q.waiting_children, now_text, id)
    emit(q, 'waiting-children', 'jobId', id)
    return 'waiting-children'
  elseif delay > 0 then
    emit(q, 'delayed', 'jobId', id, 'delay', int(now + delay))
    return put_off(q, id, now + delay)
  elseif priority > 0 then
    emit(q, 'waiting', 'jobId', id)
    return enqueue(q, id, priority, 'L')
  end
  q.has_new_work = true
  if j[9] then
    redis.call('RPUSH', q.wait, id)
  else
    local ids = line[q]
    if not ids then
      ids = {}
      line[q] = ids
    end
    ids[#ids + 1] = id
  end
  emit(q, 'waiting', 'jobId', id)
  return 'waiting'
end

for i, j in ipairs(args.jobs) do
  local q, id, job = queues[j[1]], j[2], job_keys[i]
  if not none_exists and redis.call('EXISTS', job) == 1 then
    existing[#existing + 1] = id
    emit(q, 'duplicated', 'jobId', id)
    for n, p in ipairs(parents_of_new(j)) do
      if args.bullmq then adopt(q, id, job, args.parents[p])
      else attach(q, id, job, args.parents[p], flow, n == 1, settled) end
    end
    if args.bullmq then q.stored = (q.stored or 0) + 1 end
  else
    local in_flow = flow and (j[12] and j[12] .. flow or flow)
    local parent = in_flow and not j[11] and not j[13] and args.parents[j[6]]
    if parent then -- nearly every job: one call without a list in between
      redis.call('HSET', job, 'name', j[3], 'data', j[4], 'opts', args.opts[j[5]], 'timestamp', now_text,
                 'delay', int(j[7] or 0), 'priority', int(j[8] or 0), 'fl', in_flow,
                 'parentKey', parent[1], 'parent', parent[2])
      await(parent[1], job)
    else
      store(q, job, j, in_flow)
    end
    emit(q, 'added', 'jobId', id, 'name', j[3])
    count_move(q, in_flow, nil, place(q, id, j))
    q.stored = (q.stored or 0) + 1
    added = added + 1
    if j[10] and args.seal then redis.call('SADD', job .. ':dependencies', args.seal) end
  end
end

-- 4. Grouped writes: the lines, the parents' dependencies, the id counters.
for q, ids in pairs(line) do redis.call('LPUSH', q.wait, unpack(ids)) end
for _, parent in ipairs(awaited_order) do redis.call('SADD', parent .. ':dependencies', unpack(awaited[parent])) end
for _, q in pairs(queues_seen) do
  if q.stored then redis.call('INCRBY', q.id, q.stored) end
end
for _, q in ipairs(queues) do trim_events(q) end -- once a call: trimming at each event costs a third of it
-- What a parent is said to wait for is kept when it comes again: it may have got children of its own since.
local write = args.under and 'HSET' or 'HSETNX'
for _, chunk in ipairs(args.chunks) do redis.call(write, chunk[1], chunk[2], chunk[3]) end
if record and record.stored then look_later(flow_key('flow', queues[1], flow), 60000) end

-- 5. What was there already may have ended badly, or be all that a parent waits for.
for _, s in ipairs(settled) do settle_failed(s[1], s[2], s[3]) end
for _, parent in ipairs(args.unseal) do
  if args.seal then redis.call('SREM', parent .. ':dependencies', args.seal) end
  release_if_settled(parent)
end

write_counts()
wake_workers()
return reply{added = added, existing = existing}
