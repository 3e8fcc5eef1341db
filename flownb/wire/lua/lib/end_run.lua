-- end_run: what the end of one run means for the job, its parents, its flow and all counts.
-- @touches flownb:shared
-- @use     types counts end_flow parents notify fail_parent marks finish needed cancel retention begin print holds brakes

-- A run is its outcome, with {q, job, from, has_begun, is_unbegun, parent_key, flow, attempts_made, is_shared, further,
-- is_notified_later}: one table a job. It left the state `from`; its beginning was told (`has_begun`), or it goes back without one
-- (`is_unbegun`); `parent_key` is the first parent.
local MOST_NOTIFIED, NONE = 200, {} -- further parents a call
local notified, notified_later = 0, {}

-- The further parents of a job that has ended, as far as this call notifies them; notify_parents is for the others.
local function further_parents(run)
  if not run.is_shared then return NONE end
  if not run.further then
    notified = notified + (attempt('HLEN', further_parents_key(run.job)) or 0)
    run.is_notified_later = notified > MOST_NOTIFIED
    run.further = run.is_notified_later and NONE or parents_of(run.job, nil, nil, true)
    if run.is_notified_later then notified_later[#notified_later + 1] = run.job end
  end
  return run.further
end

-- Notify the parents of completed jobs, each parent once: its `waiting` goes before the `completed` of its children.
local function notify_of_completed(runs)
  local parents, order = {}, {}
  local function add_child(parent, run)
    local children = parents[parent]
    if not children then
      children = {keys = {}, values = {}}
      parents[parent] = children
      order[#order + 1] = parent
    end
    local n = #children.keys + 1
    children.keys[n], children.values[n] = run.job, run.value
  end
  for i = 1, #runs do
    local run = runs[i]
    if run.kind == 'completed' then
      completing[run.job] = true
      if run.parent_key and is_sound_job(run.parent_key) then add_child(run.parent_key, run) end
      if run.is_shared then
        for _, link in ipairs(further_parents(run)) do
          add_child(link.key, run)
          count_move(run.q, link.flow, 'waiting', 'completed')
        end
      end
    end
  end
  for _, parent in ipairs(order) do notify_completed(parent, parents[parent].keys, parents[parent].values) end
end

-- Its call of a service was limited (`hold`).
local function hold_queue_of(run)
  hold_queue(run.q, run.hold, tonumber(run.has_begun) or now - run.ran, run.flow)
end

-- Somebody has cancelled this one job meanwhile (`defa`): where it would have run again, it ends with this run. What would
-- have gone back without a charge is charged no attempt.
local function end_if_cancelled(run)
  if run.kind == 'failed' or field_of(run.job, 'defa') ~= 'cancelled' then return end
  if run.kind ~= 'retry' then run.attempts_made = run.attempts_made - 1 end
  if run.is_unbegun and run.from == 'active' then redis.call('HINCRBY', run.job, 'ats', -1) end
  hold_queue_of(run)
  run.kind, run.reason, run.why = 'failed', 'cancelled', 'cancelled'
  run.stacktrace = run.stacktrace or field_of(run.job, 'stacktrace') or '[]'
  run.attempts = math.huge -- it did not run out of them
end

-- A job that nobody needs any more is cancelled where it would have run again. False where it has ended, or is needed.
local function cancel_instead(run, made, counted)
  if run.kind == 'failed' and run.why ~= 'cancelled' then return false end
  if not is_cancelled(run.q, run.job, run.flow) then return false end
  redis.call('HSET', run.job, 'ft', run.token)
  if run.reason then redis.call('HSET', run.job, 'atm', made, 'stacktrace', run.stacktrace) end
  hold_queue_of(run)
  cancel(run.q, run.id, counted, run.reason)
  return true
end

local function store_failure(run, made)
  local links = parents_of(run.job, redis.call('HGET', run.job, 'parent'), run.parent_key)
  for _, link in ipairs(further_parents(run)) do links[#links + 1] = link end
  notify_failed(run.job, run.reason, links)
  for _, link in ipairs(links) do count_move(run.q, link.flow, 'waiting', 'failed') end
  store_failed(run, made)
  if run.flow then cancel_pending(run.q, run.flow, run.job) end
  if #failed_parents > 0 then forget_marks() end
end

-- Returns the state of the job after a run that has not completed it.
local function store_outcome(run, made)
  if run.kind == 'failed' then
    store_failure(run, made)
    return 'failed'
  elseif run.kind == 'retry' then
    return store_retry(run, made)
  elseif run.kind == 'unbegun' then
    return store_unbegun(run)
  elseif run.kind == 'put_off' then
    return store_put_off(run)
  elseif run.kind == 'parked' then
    return store_parked(run)
  end
  hold_queue_of(run)
  return store_returned(run)
end

-- Another flow that counts the shared job may count in rows, also where the job is one row.
local function end_shared(run, state, ended)
  local rows = run.rows or state == 'completed' and {1, 0} or state == 'failed' and {0, 1}
  for _, link in ipairs(ended and further_parents(run) or parents_of(run.job, nil, nil, true)) do
    count_ended_rows(run.q, link.flow, run.job, rows)
  end
  if run.is_notified_later then
    list_notified_later(run.job, rows)
  elseif ended then
    attempt('HDEL', shared_key(run.job), run.job)
  end
end

local function end_run(run)
  local q, flow, state = run.q, run.flow, 'completed'
  local made = run.attempts_made + 1
  if run.printed then print_lines(run.job, run.printed, run.keep_logs) end
  -- What was taken ahead counts as waiting. Where it has begun since, that is told before the end is.
  local counted = not run.has_begun and run.from == 'active' and 'waiting' or run.from
  if run.kind == 'completed' then
    store_completed(run, made)
  else
    write_completed() -- what follows may ask which jobs have
    if not run.has_begun and not run.is_unbegun then tell_beginning(q, run.id, run.job, run.ran) end
    if flow and cancel_instead(run, made, counted) then
      flow, state = nil, nil -- what follows is done
    else
      state = store_outcome(run, made)
    end
  end
  local has_ended = state == 'completed' or state == 'failed'
  count_move(q, flow, counted, state)
  if run.rows or flow and brakes_read[flow] ~= false then count_ended_rows(q, flow, run.job, run.rows, state) end
  if run.is_shared then end_shared(run, state, has_ended) end
  if run.retention and not run.flow then apply_retention(q, state, run.id, run.retention) end
  if has_ended and flow and not run.parent_key then
    if state == 'failed' then note_cause(q, flow, first_failure(run.job)) end
    end_flow(q, flow, state)
  end
end
