-- parents: links from a job to its parents, and the list of shared jobs.
-- @touches flownb:parents flownb:shared
-- @use     types queue

-- A parent link: {key, policy, flow, is_further}. `policy` is BullMQ's short word or ''. Only further parents of a shared
-- job have `flow`: it counts the job besides the job's own flow.
local POLICIES = {'fpof', 'cpof', 'idof', 'rdof'}
-- what a parent keeps of its children, and in what
local HELD = {[':dependencies'] = 'set', [':processed'] = 'hash'}
local RARELY_HELD = {[':failed'] = 'hash', [':unsuccessful'] = 'zset'}
local policies_read = {} -- field `parent` -> policy: siblings have one text, which is decoded once

local function prefix_of_job(job) return job:match('^(.*):[^:]+:[^:]+$') end
local function further_parents_key(job) return prefix_of_job(job) .. ':flownb:parents:' .. job end
local function shared_key(job) return prefix_of_job(job) .. ':flownb:shared' end

-- The list has shared jobs that have not ended, with their first parent: whoever looks for jobs that another program's
-- worker ended goes through it. See notify_parents.
local function list_shared(job, first)
  attempt('HSET', shared_key(job), job, first and (first.policy .. ' ' .. first.key) or ' ')
end

-- The job has ended, and calls of notify_parents follow; of its rows so many were done, so many failed.
local function list_notified_later(job, rows)
  local told = 'told'
  for _, n in ipairs(rows) do told = told .. ' ' .. int(n) end
  attempt('HSET', shared_key(job), job, told)
end

local sound_jobs = {} -- key -> is it sound? Asked once a call

-- Can a job be moved, and told of its children? Its hash and what it holds of children have their types, and its queue is
-- sound. What is not is left where it is.
local function is_sound_job(key)
  if sound_jobs[key] == nil then
    local is_whole = is_job_key(key) and is_kind(key, 'hash')
    local rare = is_whole and redis.call('EXISTS', key .. ':failed', key .. ':unsuccessful') or 0
    for name, kind in pairs(HELD) do is_whole = is_whole and is_kind(key .. name, kind) end
    for name, kind in pairs(rare > 0 and RARELY_HELD or {}) do is_whole = is_whole and is_kind(key .. name, kind) end
    sound_jobs[key] = is_whole and is_sound(queue_and_id(key))
  end
  return sound_jobs[key]
end

local function further_links(stored)
  local links = {}
  for i = 1, #stored, 2 do
    local policy, flow = stored[i + 1]:match('^(%a*) (%S*)$')
    if policy and is_sound_job(stored[i]) then
      links[#links + 1] = {key = stored[i], policy = policy, flow = flow ~= '' and flow or nil, is_further = true}
    end
  end
  return links
end

local function policy_in(text)
  local policy = policies_read[text]
  if not policy then
    local is_read, decoded = pcall(cjson.decode, text)
    policy = ''
    for _, word in ipairs(is_read and type(decoded) == 'table' and POLICIES or {}) do
      if decoded[word] == true then policy = word end
    end
    policies_read[text] = policy
  end
  return policy
end

-- A link as the field `parent` of a job has it.
local function stored_link(link)
  local base, id = link.key:match('^(.*):([^:]+)$')
  local stored = {id = id, queueKey = base}
  if link.policy ~= '' then stored[link.policy] = true end
  return cjson.encode(stored)
end

-- The first parent is in the job's own hash, further ones of a shared job in a key beside it. Links to parents that are not
-- sound are left out: such a parent learns of its children when it is repaired.
local function parents_of(job, parent_text, parent_key, is_shared)
  local links = {}
  if parent_key and is_sound_job(parent_key) then
    links[1] = {key = parent_key, policy = parent_text and policy_in(parent_text) or ''}
  end
  if is_shared and is_kind(further_parents_key(job), 'hash') then
    for _, link in ipairs(further_links(redis.call('HGETALL', further_parents_key(job)))) do
      links[#links + 1] = link
    end
  end
  return links
end
