--- read_flow_state: what a flow's counts say, and what BullMQ's own keys say of the same jobs; nothing is written.
-- @keys    queues
-- @args    now flow root parents shared seal bases
-- @returns counts pending ended others telling
-- @errors
-- @use     queue counts parents

-- `shared` is a list of {job, number of parents beside the first}. `counts` are fields and numbers; `pending` is how many
-- jobs below the root are still waited for; `others` says that another program's worker has a job or ended a shared one,
-- `telling` that a shared job has ended and not all of its parents know yet.
local MOST_LOOKED_AT = 100 -- ids of a queue
local UUID = 32 -- characters: other programs' workers sign with a UUID; our tokens are shorter

local counts, pending = redis.call('HGETALL', flow_key('counts', queues[1], args.flow)), 0
for _, parent in ipairs(args.parents) do
  local awaited = parent .. ':dependencies'
  pending = pending + redis.call('SCARD', awaited) - redis.call('SISMEMBER', awaited, args.seal)
end
local telling, others = false, false
for _, shared in ipairs(args.shared) do
  local job, further = shared[1], shared[2]
  if redis.call('HEXISTS', job, 'finishedOn') == 0 then
    pending = pending - further
  else
    local listed = redis.call('HGET', shared_key(job), job)
    local is_told_later = listed and listed:sub(1, 5) == 'told ' or false
    telling = telling or is_told_later
    others = others or (listed and not is_told_later) or false -- our own workers take a job off the list as they end it
  end
end

local counted = {}
for i = 1, #counts, 2 do counted[counts[i]] = tonumber(counts[i + 1]) end

local function runs_elsewhere(q)
  if redis.call('LLEN', q.active) <= (counted['active@' .. q.base] or 0) then return false end
  for _, id in ipairs(redis.call('LRANGE', q.active, 0, MOST_LOOKED_AT - 1)) do
    local job = job_key(q, id)
    if redis.call('HGET', job, 'fl') == args.flow then
      local token = redis.call('GET', job .. ':lock')
      if token and #token >= UUID then return true end
    end
  end
end

-- Has one of these jobs begun without an outcome that our workers wrote?
local function has_foreign_start(q, ids, begun)
  for _, id in ipairs(ids) do
    local has = redis.call('HMGET', job_key(q, id), 'fl', begun, 'ft')
    if has[1] == args.flow and has[2] and not has[3] then return true end
  end
end

local function is_put_off_elsewhere(q)
  if redis.call('ZCARD', q.delayed) <= (counted['delayed@' .. q.base] or 0) then return false end
  return has_foreign_start(q, redis.call('ZRANGE', q.delayed, 0, MOST_LOOKED_AT - 1), 'atm')
end

-- Its function has added children.
local function is_parked_elsewhere(q)
  if redis.call('ZCARD', q.waiting_children) <= (counted['waiting-children@' .. q.base] or 0) then return false end
  return has_foreign_start(q, redis.call('ZREVRANGE', q.waiting_children, 0, MOST_LOOKED_AT - 1), 'ats')
end

for _, base in ipairs(args.bases) do
  local q = queue_at(base)
  others = others or runs_elsewhere(q) or is_put_off_elsewhere(q) or is_parked_elsewhere(q) or false
end
return reply{counts = counts, pending = pending, others = others, telling = telling,
             ended = redis.call('HEXISTS', args.root, 'finishedOn') == 1}
