-- wait_again: failed or completed -> waiting-children; ancestors of a retried job wait for it again.
-- @touches waiting-children completed failed delayed wait prioritized dependencies processed unsuccessful flownb:flow
-- @use     types queue counts parents job_state failed_runs reopen_flow

local to_review, is_listed = {}, {} -- keys of parents that may have to wait again, in order and as a set

-- A parent takes back what it holds of the child, and waits for it again. More calls may follow: then parents in the
-- flow `seal.flow` wait for the last one as well, and so does all above them.
local function take_back(link, child, seal)
  local held = held_in(link, child)
  if not held then return end
  if held == 'unsuccessful' then
    redis.call('ZREM', link.key .. ':unsuccessful', child)
  elseif held ~= 'nothing' then
    redis.call('HDEL', link.key .. ':' .. held, child)
  end
  redis.call('SADD', link.key .. ':dependencies', child)
  if seal.member and (redis.call('HGET', link.key, 'fl') or nil) == seal.flow then
    redis.call('SADD', link.key .. ':dependencies', seal.member)
  end
  if not is_listed[link.key] then
    is_listed[link.key] = true
    table.insert(to_review, link.key)
  end
end

-- What the job's end has added to the rows that failed and to those that are done, as a change that takes it back.
-- A cancel adds nothing for the rows that were open, and no more does another program's worker that completed the job:
-- these are counted in their job.
local function rows_taken_back(job)
  local is_failed = job.state == 'failed'
  local is_cancelled = is_failed and redis.call('HGET', job.key, 'why') == 'cancelled'
  if not job.rows then return not is_cancelled and (is_failed and {0, -1} or {-1, 0}) or nil end
  local rows = {0, ((is_cancelled or not is_failed) and job.were_open or 0) - #job.rows}
  for i, n in ipairs(job.steps) do rows[i + 2] = -n end
  return rows
end

-- A many-row job keeps in `part` what its rows have come to, but for the rows to run again: those are open. A value of
-- rows that were open says nothing of them: it is another program's.
local function reopen_rows(job)
  local value = redis.call('HGET', job.key, 'returnvalue')
  if job.part then
    redis.call('HSET', job.key, 'part', job.part)
  elseif value and job.were_open == 0 then
    local open = ',"open":[' .. table.concat(job.rows, ',') .. ']}'
    redis.call('HSET', job.key, 'part', value:sub(1, -2) .. open)
  end
end

-- The job has not ended any more: its attempts start anew. `ats` never goes down: it tells a late worker that others
-- came after it. Logs and tracebacks stay, as BullMQ's do.
local function undo_end(job, seal)
  local rows = rows_taken_back(job)
  if job.rows then
    reopen_rows(job)
    count_rows(job.q, job.flow, rows)
  end
  if job.state == 'failed' then note_failed_run(job.key, redis.call('HGET', job.key, 'finishedOn')) end
  redis.call('ZREM', job.state == 'failed' and job.q.failed or job.q.completed, job.id)
  redis.call('HDEL', job.key, 'finishedOn', 'processedOn', 'failedReason', 'returnvalue', 'why', 'defa', 'stc', 'said',
             'cv', 'alone', 'unbegun', 'suspect', 'died', 'dead')
  redis.call('HSET', job.key, 'atm', '0')
  if job.is_root then
    local record = flow_key('flow', job.q, job.flow)
    undo_flow_end(record)
    attempt('HDEL', record, 'cause')
  end
  local first = job.links[1]
  if job.is_shared then list_shared(job.key, first and first.key == job.first_parent and first) end
  review_cause(job.q, job.flow)
  for _, link in ipairs(job.links) do
    count_rows(job.q, link.flow, rows)
    take_back(link, job.key, seal)
    count_move(job.q, link.flow, job.state, 'waiting')
    review_cause(job.q, link.flow)
  end
end

-- waiting, prioritized or delayed -> waiting-children, of a parent that was about to run on what it had.
-- `ats` grows, so that a worker which lost its lease before cannot end the job late.
local function leave_line(job)
  if job.state == 'delayed' then redis.call('ZREM', job.q.delayed, job.id)
  elseif job.state == 'prioritized' then redis.call('ZREM', job.q.prioritized, job.id)
  elseif redis.call('LREM', job.q.wait, -1, job.id) == 0 then redis.call('LREM', job.q.paused, 1, job.id) end
  redis.call('HDEL', job.key, 'defa')
  if job.attempts_started then redis.call('HINCRBY', job.key, 'ats', 1) end
end

local function await_children(job)
  redis.call('ZADD', job.q.waiting_children, now_text, job.id)
  emit(job.q, 'waiting-children', 'jobId', job.id, 'prev', job.state)
  count_move(job.q, job.flow, job.state, 'waiting-children')
end

-- A parent in line was to be cancelled with a child of its own. The cancel is taken back, but the child has failed: the
-- parent fails when a worker takes it.
local function fail_when_taken(job)
  if job.state == 'waiting' or job.state == 'prioritized' or job.state == 'delayed' then
    local child = redis.call('ZRANGE', job.key .. ':unsuccessful', 0, 0)[1]
    redis.call('HSETNX', job.key, 'defa', 'child ' .. child .. ' failed')
  end
end

-- From the parents of the retried jobs up to the roots. A parent that another failed child keeps failed stays as it is
-- until that child is retried too.
local function make_ancestors_wait(seal)
  while #to_review > 0 do
    local parent = table.remove(to_review, 1)
    is_listed[parent] = nil
    local job = read_job(parent)
    if job and redis.call('EXISTS', job.key .. ':unsuccessful') == 1 then
      review_cause(job.q, job.flow, job.key)
      fail_when_taken(job)
    elseif job and job.state ~= 'waiting-children' and job.state ~= 'active' then
      if job.state == 'failed' or job.state == 'completed' then undo_end(job, seal) else leave_line(job) end
      await_children(job)
      review_cause(job.q, job.flow)
    end
  end
end
