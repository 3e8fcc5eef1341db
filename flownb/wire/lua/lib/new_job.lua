-- new_job: nothing -> waiting, prioritized, delayed or waiting-children; the hash of an added job, and where it begins.
-- @touches wait waiting-children dependencies events
-- @use     queue enqueue parents add_parent

local NO_DETAILS = {delay = 0, priority = 0}
local new_children = {parents = {}} -- parent's key -> children added under it; `parents` has the keys in order
local appended = {}                 -- queue -> ids that join the end of its list together

local function await(parent, child)
  local children = new_children[parent]
  if not children then
    children = {}
    new_children[parent] = children
    table.insert(new_children.parents, parent)
  end
  children[#children + 1] = child
end

-- Rows point at their parents: at one, at several, or at none.
local function parents_of_row(row, parents)
  if not row.parents then return {} end
  if type(row.parents) == 'number' then return {parents[row.parents]} end
  local found = {}
  for i, position in ipairs(row.parents) do found[i] = parents[position] end
  return found
end

-- Nearly every job has one parent, a flow and no more: its hash is written without building a list.
local function store_child(job, row, details, opts, flow, parent)
  redis.call('HSET', job, 'name', row.name, 'data', row.data, 'opts', opts, 'timestamp', now_text,
             'delay', int(details.delay), 'priority', int(details.priority), 'fl', flow,
             'parentKey', parent.key, 'parent', parent.link)
  await(parent.key, job)
end

local function store_any(job, row, details, opts, flow, above)
  local fields = {'name', row.name, 'data', row.data, 'opts', opts, 'timestamp', now_text,
                  'delay', int(details.delay), 'priority', int(details.priority)}
  local function add(field, value)
    if value then
      fields[#fields + 1] = field
      fields[#fields + 1] = value
    end
  end
  add('fl', flow)
  add('bind', details.bind)
  add('keep', details.keep)
  add('wt', details.weights)
  for i, parent in ipairs(above) do
    if i == 1 then
      add('parentKey', parent.key)
      add('parent', parent.link)
      if above[2] then list_shared(job, parent) end
    else
      share(job, parent, parent.flow or '')
    end
    await(parent.key, job)
  end
  redis.call('HSET', job, unpack(fields))
end

-- Returns the state in which the job begins.
local function begin(q, id, details)
  if details.has_children then
    redis.call('ZADD', q.waiting_children, now_text, id)
    emit(q, 'waiting-children', 'jobId', id)
    return 'waiting-children'
  elseif details.delay > 0 then
    local due = now + details.delay
    emit(q, 'delayed', 'jobId', id, 'delay', int(due))
    return put_off(q, id, due)
  end
  emit(q, 'waiting', 'jobId', id)
  if details.priority > 0 or details.lifo then
    return enqueue(q, id, details.priority, details.lifo and 'R' or 'L')
  end
  q.has_new_work = true
  local ids = appended[q]
  if not ids then
    ids = {}
    appended[q] = ids
  end
  ids[#ids + 1] = id
  return 'waiting'
end

-- One write for all jobs that join a list, and for all that a parent waits for.
local function write_grouped()
  for q, ids in pairs(appended) do redis.call('LPUSH', q.wait, unpack(ids)) end
  for _, parent in ipairs(new_children.parents) do
    redis.call('SADD', parent .. ':dependencies', unpack(new_children[parent]))
  end
end
