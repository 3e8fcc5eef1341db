--- retry_jobs: failed -> waiting or prioritized; what stands above waits again: failed or completed -> waiting-children.
-- One call for many jobs; a bad one spoils only itself: its answer says why it was refused. Sent twice, it
-- retries nothing twice. A job whose ancestor runs right now is refused: that run has begun with what there was.
-- @keys    queues
-- @args    now token jobs flow seal unseal
-- @returns answers
-- @errors
-- @use     queue counts enqueue parents job_state retry

-- A job: {key, lifo} or, of a many-row job, which may have completed, {key, lifo, places of rows}. An answer: done, repeated, missing, not-failed, failed-children or parent-active, each
-- of the last two with a key behind it: whose child, or which ancestor. `seal` keeps parents of `flow` waiting
-- while calls follow; the last of them names them in `unseal`.

-- 1. Look at every job; nothing is written yet.
local running = {}

-- Which job that would have to wait again is running? Found once for each parent.
local function running_above(child)
  for _, edge in ipairs(child.edges) do
    if kept_in(edge, child.key) then
      if running[edge.key] == nil then
        running[edge.key] = false
        local above = look_at(edge.key)
        if above and above.state == 'active' then
          running[edge.key] = edge.key
        elseif above and (above.state == 'failed' or above.state == 'completed') then
          running[edge.key] = running_above(above)
        end
      end
      if running[edge.key] then return running[edge.key] end
    end
  end
  return false
end

local answers, looked, seen, mending = {}, {}, {}, {}
for i, job in ipairs(args.jobs) do
  local at = look_at(job[1])
  local above = false
  if not at then answers[i] = 'missing'
  elseif at.token == args.token or seen[at.key] then answers[i] = 'repeated'
  elseif at.state ~= 'failed' and not (job[3] and at.state == 'completed') then answers[i] = 'not-failed'
  else
    seen[at.key] = true
    above = running_above(at)
    if above then answers[i] = 'parent-active ' .. above end
  end
  if not answers[i] then
    at.side, at.place, at.rows = job[2] and 'R' or 'L', i, job[3]
    looked[#looked + 1] = at
    for _, edge in ipairs(at.edges) do
      if kept_in(edge, at.key) == 'unsuccessful' then mending[edge.key] = (mending[edge.key] or 0) + 1 end
    end
  end
end

-- A job that its children failed runs only when they are retried: all of them, here or before.
local refused
repeat
  refused = false
  for _, at in ipairs(looked) do
    if not answers[at.place] and redis.call('ZCARD', at.key .. ':unsuccessful') > (mending[at.key] or 0) then
      answers[at.place] = 'failed-children ' .. redis.call('ZRANGE', at.key .. ':unsuccessful', 0, 0)[1]
      refused = true
      for _, edge in ipairs(at.edges) do
        if kept_in(edge, at.key) == 'unsuccessful' then mending[edge.key] = mending[edge.key] - 1 end
      end
    end
  end
until not refused
local accepted = {}
for _, at in ipairs(looked) do
  if not answers[at.place] then
    answers[at.place] = 'done'
    accepted[#accepted + 1] = at
  end
end

-- 2. Undo each end; parents take back what they keep of it. Of a cancelled flow the cancel is taken back.
for _, at in ipairs(accepted) do
  unmark(at.q, at.flow)
  redis.call('HSET', at.key, 'rt', args.token)
  forget_end(at)
end

-- 3. Back into line, or among those that wait for children.
for _, at in ipairs(accepted) do
  if redis.call('EXISTS', at.key .. ':dependencies') == 1 then
    await_children(at)
  else
    count_move(at.q, at.flow, at.state, enqueue(at.q, at.id, at.priority, at.side))
    emit_and_trim(at.q, 'waiting', 'jobId', at.id, 'prev', at.state)
  end
end

-- 4. What stands above them, up to the roots.
if args.flow then reopen(queues[1], args.flow) end
revive_parents()
write_causes()
for _, parent in ipairs(args.unseal) do
  redis.call('SREM', parent .. ':dependencies', args.seal)
  release_if_settled(parent)
end
write_counts()
wake_workers()
return reply{answers = answers}
