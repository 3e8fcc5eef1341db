-- parents: links from a job to its parents, and the list of shared jobs.
-- @touches flownb:parents flownb:shared
-- @use     queue

-- A parent link: {key, policy, flow, is_further}. `policy` is BullMQ's short word or ''. Only further parents of a shared
-- job have `flow`: it counts the job besides the job's own flow.
local POLICIES = {'fpof', 'cpof', 'idof', 'rdof'}
local policies_read = {} -- field `parent` -> policy: siblings have one text, which is decoded once

local function prefix_of_job(job) return job:match('^(.*):[^:]+:[^:]+$') end
local function further_parents_key(job) return prefix_of_job(job) .. ':flownb:parents:' .. job end
local function shared_key(job) return prefix_of_job(job) .. ':flownb:shared' end

-- The list has shared jobs that have not ended, with their first parent: whoever looks for jobs that another program's
-- worker ended goes through it. See notify_parents.
local function list_shared(job, first)
  redis.call('HSET', shared_key(job), job, first and (first.policy .. ' ' .. first.key) or ' ')
end

-- The job has ended, and calls of notify_parents follow; of its rows so many were done, so many failed.
local function list_notified_later(job, rows)
  redis.call('HSET', shared_key(job), job, 'told ' .. int(rows[1]) .. ' ' .. int(rows[2]))
end

local function further_links(stored)
  local links = {}
  for i = 1, #stored, 2 do
    local policy, flow = stored[i + 1]:match('^(%a*) (%S*)$')
    links[#links + 1] = {key = stored[i], policy = policy, flow = flow ~= '' and flow or nil, is_further = true}
  end
  return links
end

local function policy_in(text)
  local policy = policies_read[text]
  if not policy then
    local decoded = cjson.decode(text)
    policy = ''
    for _, word in ipairs(POLICIES) do
      if decoded[word] then policy = word end
    end
    policies_read[text] = policy
  end
  return policy
end

-- The first parent is in the job's own hash, further ones of a shared job in a key beside it.
local function parents_of(job, parent_text, parent_key, is_shared)
  local links = {}
  if parent_key then links[1] = {key = parent_key, policy = parent_text and policy_in(parent_text) or ''} end
  if is_shared then
    for _, link in ipairs(further_links(redis.call('HGETALL', further_parents_key(job)))) do
      links[#links + 1] = link
    end
  end
  return links
end
