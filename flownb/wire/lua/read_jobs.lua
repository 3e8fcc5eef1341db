--- read_jobs: what the given jobs hold and where they are; nothing is written.
-- A job's place is asked for only where its hash does not tell: an ended job carries `finishedOn`.
-- @keys    queues
-- @args    keys fields
-- @returns jobs
-- @errors
-- @use

local function state_of(key, has)
  if has[1] then return has[2] and 'completed' or 'failed' end
  local base, id = key:match('^(.*):([^:]+)$')
  if redis.call('EXISTS', key .. ':lock') == 1 then return 'active' end
  for _, state in ipairs({'waiting-children', 'delayed', 'prioritized'}) do
    if redis.call('ZSCORE', base .. ':' .. state, id) then return state end
  end
  if redis.call('LPOS', base .. ':active', id) then return 'active' end
  return 'waiting'
end

-- A job: {state, value of each field}; false for a job that is not there.
local jobs = {}
for i, key in ipairs(args.keys) do
  local has = redis.call('HMGET', key, 'finishedOn', 'returnvalue', 'name')
  if has[3] then
    jobs[i] = {state_of(key, has), redis.call('HMGET', key, unpack(args.fields))}
  else
    jobs[i] = false
  end
end
return reply{jobs = jobs}
