--- retry_jobs: failed or completed -> waiting or prioritized; ancestors wait again: failed or completed -> waiting-children.
-- One call for many jobs; a bad one spoils only itself: its answer says why it was refused. Sent twice, the call
-- retries nothing twice. A job whose ancestor runs right now is refused: that run has begun with what there was.
-- @keys    queues
-- @args    now token jobs flow seal unseal
-- @returns answers
-- @errors
-- @use     queue counts enqueue parents release job_state reopen_flow wait_again
-- @row     retry key lifo rows were_open part completed steps

-- An answer: done, repeated, missing, damaged, not-failed, failed-children or parent-active, the last two with a key behind it:
-- of the failed child, or of the ancestor that runs. `seal` keeps parents of `flow` waiting while calls follow; the last
-- of these names the parents in `unseal`.

-- 1. Look at every job; nothing is written yet.
local running = {} -- parent's key -> key of an ancestor that runs, or false

-- Which ancestor that would have to wait again is running?
local function running_above(child)
  for _, link in ipairs(child.links) do
    if held_in(link, child.key) then
      if running[link.key] == nil then
        running[link.key] = false
        local above = read_job(link.key)
        if above and above.state == 'active' then
          running[link.key] = link.key
        elseif above and (above.state == 'failed' or above.state == 'completed') then
          running[link.key] = running_above(above)
        end
      end
      if running[link.key] then return running[link.key] end
    end
  end
  return false
end

-- How many children that failed each parent are retried here.
local retried_under = {}
local function count_under_parents(job, n)
  for _, link in ipairs(job.links) do
    if held_in(link, job.key) == 'unsuccessful' then retried_under[link.key] = (retried_under[link.key] or 0) + n end
  end
end

local answers, jobs, seen = {}, {}, {}
for i, packed in ipairs(args.jobs) do
  local retry = retry_of(packed)
  local job = read_job(retry.key)
  if not job then answers[i] = is_sound_job(retry.key) and 'missing' or 'damaged'
  elseif job.retry_token == args.token or seen[job.key] then answers[i] = 'repeated'
  elseif job.state ~= 'failed' and not ((retry.rows or retry.completed) and job.state == 'completed') then answers[i] = 'not-failed'
  else
    seen[job.key] = true
    local above = running_above(job)
    if above then answers[i] = 'parent-active ' .. above end
  end
  if not answers[i] then
    job.side, job.position, job.rows = retry.lifo and 'R' or 'L', i, retry.rows
    job.were_open, job.part, job.steps = retry.were_open, retry.part, retry.steps
    jobs[#jobs + 1] = job
    count_under_parents(job, 1)
  end
end

-- Children that failed a job and are gone, as another program removed them: they are not waited for.
local MOST_LOOKED_AT = 1000
local function gone_among(failed_by, count)
  local gone = {}
  for _, child in ipairs(count <= MOST_LOOKED_AT and redis.call('ZRANGE', failed_by, 0, -1) or {}) do
    if redis.call('EXISTS', child) == 0 then gone[#gone + 1] = child end
  end
  return gone
end

-- A job that its children failed runs only when all of them are retried, here or before.
local was_refused
repeat
  was_refused = false
  for _, job in ipairs(jobs) do
    local failed_by = job.key .. ':unsuccessful'
    local count, retried = redis.call('ZCARD', failed_by), retried_under[job.key] or 0
    if not answers[job.position] and count > retried then job.gone = job.gone or gone_among(failed_by, count) end
    if not answers[job.position] and count - (job.gone and #job.gone or 0) > retried then
      answers[job.position] = 'failed-children ' .. redis.call('ZRANGE', failed_by, 0, 0)[1]
      was_refused = true
      count_under_parents(job, -1)
    end
  end
until not was_refused
local accepted = {}
for _, job in ipairs(jobs) do
  if not answers[job.position] then
    answers[job.position] = 'done'
    accepted[#accepted + 1] = job
  end
end

-- 2. Undo each end; parents take back what they hold of it. In a cancelled flow the cancel is taken back.
local seal = {member = args.seal, flow = args.flow}
for _, job in ipairs(accepted) do
  unmark_cancelled(job.q, job.flow)
  redis.call('HSET', job.key, 'rt', args.token)
  for _, child in ipairs(job.gone or {}) do redis.call('ZREM', job.key .. ':unsuccessful', child) end
  undo_end(job, seal)
end

-- 3. The jobs wait for a worker again, or for their children.
for _, job in ipairs(accepted) do
  if redis.call('EXISTS', job.key .. ':dependencies') == 1 then
    await_children(job)
  else
    count_move(job.q, job.flow, job.state, enqueue(job.q, job.id, job.priority, job.side))
    emit_and_trim(job.q, 'waiting', 'jobId', job.id, 'prev', job.state)
  end
end

-- 4. Their ancestors, up to the roots.
if args.flow then reopen_flow(queues[1], args.flow) end
make_ancestors_wait(seal)
write_causes()
for _, parent in ipairs(args.unseal) do
  if is_sound_job(parent) then
    redis.call('SREM', parent .. ':dependencies', args.seal)
    release_if_done(parent)
  end
end
write_counts()
wake_workers()
return reply{answers = answers}
