-- share: of which queues a worker takes jobs when several have some; each has an equal share of its slots.
-- @touches nothing but what fetch does
-- @use     fetch
-- @row     queue_share held may_wait

-- One command tells of a queue without any: of several, most have none. A counter of priorities that none needs any more goes
-- with a fetch.
local function has_jobs(q) return redis.call('EXISTS', q.wait, q.prioritized, q.delayed, q.pc) > 0 end

local function earlier(one, other) return other and (not one or other < one) and other or one end

-- How many of `room` jobs each queue is to give: each next one is of the queue of which the worker has the fewest.
local function portions(open, room)
  local given = {}
  for _, q in ipairs(open) do given[q] = 0 end
  for _ = 1, room do
    local fewest = open[1]
    for _, q in ipairs(open) do
      if q.held + given[q] < fewest.held + given[fewest] then fewest = q end
    end
    given[fewest] = given[fewest] + 1
  end
  return given
end

-- Take up to `room` jobs of the queues in `open`. One that gives fewer than it could has no more for now, and the others
-- share what is left. Returns in how many ms to ask again, the queues that may have more, and how many
-- of `room` were not there.
local function take_in_portions(open, room, worker, fetched)
  local again = nil
  while room > 0 and #open > 0 do
    local given, still = portions(open, room), {}
    for _, q in ipairs(open) do
      local got, wait = 0, nil
      if given[q] > 0 then got, wait = fetch(q, given[q], worker, fetched) end
      again = earlier(again, wait)
      q.held, q.has_given, room = q.held + got, q.has_given or got > 0, room - got
      if got == given[q] then still[#still + 1] = q end
    end
    open = still
  end
  return again, open, room
end

-- Take up to `want` jobs: as many as slots are free of any queue, and beyond those only of queues whose jobs are short,
-- because what waits for a slot waits for all that was taken before it.
local function fetch_in_shares(among, want, worker, fetched)
  local open = {}
  for i, q in ipairs(among) do
    local share = queue_share_of(worker.shares[i])
    q.held, q.may_wait = share.held, share.may_wait
    if has_jobs(q) then open[#open + 1] = q end
  end
  local first = math.min(want, worker.free)
  local again, open_still, left = take_in_portions(open, first, worker, fetched)
  local short = {}
  for _, q in ipairs(open_still) do
    if q.may_wait then short[#short + 1] = q end
  end
  return earlier(again, take_in_portions(short, want - first + left, worker, fetched))
end

-- Take up to `want` jobs, queue by queue in the caller's order.
local function fetch_in_order(among, want, worker, fetched)
  local again, left = nil, want
  for _, q in ipairs(among) do
    if left > 0 and has_jobs(q) then
      local got, wait = fetch(q, left, worker, fetched)
      again, left = earlier(again, wait), left - got
      q.has_given = got > 0
    end
  end
  return again
end
