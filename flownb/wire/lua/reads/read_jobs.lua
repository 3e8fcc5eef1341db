--- read_jobs: what the given jobs hold and where they are; nothing is written.
-- A job's place is asked for only where its hash does not tell: an ended job carries `finishedOn`.
-- @keys    queues
-- @args    jobs fields
-- @returns jobs
-- @errors
-- @use     types

-- Most queues have no job in most places: that is asked once a call, not once a job.
local filled = {}
local function in_use(place)
  if filled[place] == nil then filled[place] = redis.call('EXISTS', place) == 1 end
  return filled[place]
end

-- A job that its worker has not begun yet counts as waiting. A lock counts in a queue that has active jobs alone.
local function state_of(key, has)
  if has[1] then return has[2] and 'completed' or 'failed' end
  local base, id = base_and_id(key)
  if in_use(base .. ':active') and redis.call('EXISTS', key .. ':lock') == 1 then return has[4] and 'active' or 'waiting' end
  for _, state in ipairs({'waiting-children', 'delayed', 'prioritized'}) do
    local place = base .. ':' .. state
    if in_use(place) and attempt('ZSCORE', place, id) then return state end
  end
  if in_use(base .. ':active') and attempt('LPOS', base .. ':active', id) then return 'active' end
  return 'waiting'
end

-- A job: {state, value of each field}; false for a job that is not there, or has something else in its place.
local jobs = {}
for i, key in ipairs(args.jobs) do
  local has = redis.pcall('HMGET', key, 'finishedOn', 'returnvalue', 'name', 'processedOn', unpack(args.fields))
  jobs[i] = not has.err and has[3] and {state_of(key, has), {unpack(has, 5)}} or false
end
return reply{jobs = jobs}
