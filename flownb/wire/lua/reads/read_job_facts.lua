--- read_job_facts: what a doctor sees of jobs: their fields, how much their keys hold, where they are listed; nothing is written.
-- @keys    queues
-- @args    jobs fields listed
-- @returns jobs
-- @errors
-- @use     types

local sound
local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  sound = false
  return false
end

-- A job: {do all its keys have their types, value of each field, is it stored, has it data, bytes of its value, and of what its
-- rows have returned so far, ms of its lock, children it waits for, failed children it goes on without, where it is listed}. Its
-- places among those that have not ended are asked for with `listed`: a queue's list is gone through for each.
local jobs = {}
for i, key in ipairs(args.jobs) do
  local base, id = base_and_id(key)
  if not base then base, id = '', key end -- a damaged key, of which nothing is stored
  sound = true
  local fields = ask('HMGET', key, unpack(args.fields))
  local stored, data, value = ask('EXISTS', key), ask('HEXISTS', key, 'data'), ask('HSTRLEN', key, 'returnvalue')
  local part = ask('HSTRLEN', key, 'part')
  local lock, pending, ignored = ask('PTTL', key .. ':lock'), ask('SCARD', key .. ':dependencies'), ask('HLEN', key .. ':failed')
  ask('HLEN', key .. ':processed') -- these two only for their types
  ask('ZCARD', key .. ':unsuccessful')
  local places = {}
  for _, place in ipairs(args.listed and {'completed', 'failed', 'delayed', 'prioritized', 'waiting-children'} or {'completed', 'failed'}) do
    if ask('ZSCORE', base .. ':' .. place, id) then places[#places + 1] = place end
  end
  for _, place in ipairs(args.listed and {'wait', 'paused', 'active'} or {}) do
    for _ in ipairs(ask('LPOS', base .. ':' .. place, id, 'COUNT', 0) or {}) do places[#places + 1] = place end
  end
  jobs[i] = {sound, fields, stored == 1, data == 1, value or 0, part or 0, lock or -2, pending or 0, ignored or 0, places}
end
return reply{jobs = jobs}
