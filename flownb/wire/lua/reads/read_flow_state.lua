--- read_flow_state: what a flow's counts say, and what BullMQ's own keys say of the same jobs; nothing is written.
-- @keys    queues
-- @args    now flow root parents shared seal bases
-- @returns counts pending ended others telling
-- @errors
-- @use     queue counts

-- `shared` is a list of {job, parents beside the first}. `counts` are fields and numbers; `pending` is how many
-- jobs below the root are still waited for; `others` says that another program's worker has a job or ended a shared one,
-- `telling` that one has ended and not all of its parents are told yet.
local MOST = 100 -- ids of a queue that are looked at
local UUID = 32 -- other programs' workers sign with one; our tokens are shorter

local place = flow_key('counts', queues[1], args.flow)
local counts, pending = redis.call('HGETALL', place), 0
for _, parent in ipairs(args.parents) do
  local awaited = parent .. ':dependencies'
  pending = pending + redis.call('SCARD', awaited) - redis.call('SISMEMBER', awaited, args.seal)
end
local telling, others = false, false
for _, job in ipairs(args.shared) do
  if redis.call('HEXISTS', job[1], 'finishedOn') == 0 then
    pending = pending - job[2]
  else
    local listed = redis.call('HGET', job[1]:match('^(.*):[^:]+:[^:]+$') .. ':flownb:shared', job[1])
    local is_told = listed and listed:sub(1, 5) == 'told ' or false
    telling = telling or is_told
    others = others or (listed and not is_told) or false -- our own workers take a job off the list as they end it
  end
end

local counted = {}
for i = 1, #counts, 2 do counted[counts[i]] = tonumber(counts[i + 1]) end

local function runs_elsewhere(q)
  if redis.call('LLEN', q.active) <= (counted['active@' .. q.base] or 0) then return false end
  for _, id in ipairs(redis.call('LRANGE', q.active, 0, MOST - 1)) do
    local job = job_key(q, id)
    if redis.call('HGET', job, 'fl') == args.flow then
      local token = redis.call('GET', job .. ':lock')
      if token and #token >= UUID then return true end
    end
  end
end

local function is_put_off_elsewhere(q)
  if redis.call('ZCARD', q.delayed) <= (counted['delayed@' .. q.base] or 0) then return false end
  for _, id in ipairs(redis.call('ZRANGE', q.delayed, 0, MOST - 1)) do
    local has = redis.call('HMGET', job_key(q, id), 'fl', 'atm', 'ft')
    if has[1] == args.flow and has[2] and not has[3] then return true end
  end
end

-- Its function has added children: a start, and no outcome that our workers wrote.
local function is_parked_elsewhere(q)
  if redis.call('ZCARD', q.waiting_children) <= (counted['waiting-children@' .. q.base] or 0) then return false end
  for _, id in ipairs(redis.call('ZREVRANGE', q.waiting_children, 0, MOST - 1)) do
    local has = redis.call('HMGET', job_key(q, id), 'fl', 'ats', 'ft')
    if has[1] == args.flow and has[2] and not has[3] then return true end
  end
end

for _, base in ipairs(args.bases) do
  local q = queue_at(base)
  others = others or runs_elsewhere(q) or is_put_off_elsewhere(q) or is_parked_elsewhere(q) or false
end
return reply{counts = counts, pending = pending, others = others, telling = telling,
             ended = redis.call('HEXISTS', args.root, 'finishedOn') == 1}
