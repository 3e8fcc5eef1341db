--- read_parent_links: what parents hold of jobs, for a doctor; nothing is written.
-- @keys    queues
-- @args    pairs
-- @returns links
-- @errors
-- @use     types

-- Of a job and a parent of it: {is the parent stored, has it ended, does it wait for children, does it wait for this job, bytes of
-- what it holds as the job's value, does it hold that the job failed}; false where one of the keys has another type.
local sound
local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  sound = false
end

local links = {}
for i, pair in ipairs(args.pairs) do
  local job, parent = pair[1], pair[2]
  local base, id = base_and_id(parent) -- none of a damaged key, of which nothing is stored
  sound = true
  local has = ask('HMGET', parent, 'name', 'finishedOn') or {}
  local waiting = base and ask('ZSCORE', base .. ':waiting-children', id) or false
  local awaited = ask('SISMEMBER', parent .. ':dependencies', job)
  local value = ask('HSTRLEN', parent .. ':processed', job)
  local ignored = ask('HEXISTS', parent .. ':failed', job)
  local failed = ask('ZSCORE', parent .. ':unsuccessful', job)
  links[i] = sound and {has[1] and true or false, has[2] and true or false, waiting and true or false, awaited == 1, value, ignored == 1 or (failed and true) or false}
end
return reply{links = links}
