-- end_run: what the end of one run means for the job, its parents, its flow and all counts.
-- @touches flownb:shared
-- @use     types counts flow_record parents notify fail_parent marks finish needed cancel retention begin print holds brakes

-- A run: {outcome, q, job, from, has_begun, is_unbegun, parent, is_root, flow, attempts_made, is_shared}. `from` is the state
-- that the job has left, `has_begun` whether its beginning was told, `is_unbegun` whether it goes back without one, `parent`
-- the first parent where that can be told.
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
    children.keys[n], children.values[n] = run.job, run.outcome.value
  end
  for _, run in ipairs(runs) do
    if run.outcome.kind == 'completed' then
      completing[run.job] = true
      if run.parent then add_child(run.parent, run) end
      for _, link in ipairs(further_parents(run)) do
        add_child(link.key, run)
        count_move(run.q, link.flow, 'waiting', 'completed')
      end
    end
  end
  for _, parent in ipairs(order) do notify_completed(parent, parents[parent].keys, parents[parent].values) end
end

-- Its call of a service was limited (`hold`).
local function hold_queue_of(run)
  local outcome = run.outcome
  hold_queue(run.q, outcome.hold, tonumber(run.has_begun) or now - (outcome.ran or 0), run.flow)
end

-- Somebody has cancelled this one job meanwhile (`deferred`): where it would have run again, it ends with this run. What
-- would have gone back without a charge is charged no attempt.
local function end_if_cancelled(run, deferred)
  local outcome = run.outcome
  if deferred ~= 'cancelled' or outcome.kind == 'completed' or outcome.kind == 'failed' then return end
  if outcome.kind ~= 'retry' then run.attempts_made = run.attempts_made - 1 end
  if run.is_unbegun and run.from == 'active' then redis.call('HINCRBY', run.job, 'ats', -1) end
  hold_queue_of(run)
  outcome.kind, outcome.reason, outcome.why = 'failed', 'cancelled', 'cancelled'
  outcome.stacktrace = outcome.stacktrace or field_of(run.job, 'stacktrace') or '[]'
  outcome.attempts = math.huge -- it did not run out of them
end

-- A job that nobody needs any more is cancelled where it would have run again. False where it has ended, or is needed.
local function cancel_instead(run, made, counted)
  local outcome = run.outcome
  if outcome.kind == 'completed' or outcome.kind == 'failed' and outcome.why ~= 'cancelled' then return false end
  if not is_cancelled(run.q, run.job, run.flow) then return false end
  redis.call('HSET', run.job, 'ft', outcome.token)
  if outcome.reason then redis.call('HSET', run.job, 'atm', made, 'stacktrace', outcome.stacktrace) end
  hold_queue_of(run)
  cancel(run.q, outcome.id, counted, outcome.reason)
  return true
end

local function store_failure(run, made)
  local links = parents_of(run.job, redis.call('HGET', run.job, 'parent'), run.parent)
  for _, link in ipairs(further_parents(run)) do links[#links + 1] = link end
  notify_failed(run.job, run.outcome.reason, links)
  for _, link in ipairs(links) do count_move(run.q, link.flow, 'waiting', 'failed') end
  store_failed(run.q, run.outcome, run.job, made, run.flow)
  if run.flow then cancel_pending(run.q, run.flow, run.job) end
  if #failed_parents > 0 then forget_marks() end
end

-- Returns the state of the job after this outcome.
local function store_outcome(run, made)
  local outcome, q, job = run.outcome, run.q, run.job
  if outcome.kind == 'completed' then
    store_completed(q, outcome, job, made, run.flow, run.has_begun)
    -- A late end: the job was put back meanwhile, perhaps to be failed as stalled.
    if run.from ~= 'active' then redis.call('HDEL', job, 'defa') end
    return 'completed'
  elseif outcome.kind == 'failed' then
    store_failure(run, made)
    return 'failed'
  elseif outcome.kind == 'retry' then
    return store_retry(q, outcome, job, made)
  elseif outcome.kind == 'unbegun' then
    return store_unbegun(q, outcome, job, run.has_begun, run.from)
  elseif outcome.kind == 'put_off' then
    return store_put_off(q, outcome, job)
  elseif outcome.kind == 'parked' then
    return store_parked(q, outcome, job)
  end
  hold_queue_of(run)
  return store_returned(q, outcome, job)
end

-- Another flow that counts the shared job may count in rows, also where the job is one row.
local function end_shared(run, state, ended)
  local rows = run.outcome.rows or state == 'completed' and {1, 0} or state == 'failed' and {0, 1}
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
  local outcome, q, flow = run.outcome, run.q, run.flow
  local made, state = run.attempts_made + 1, nil
  if outcome.printed then print_lines(run.job, outcome.printed, outcome.keep_logs) end
  -- What was taken ahead counts as waiting. Where it has begun since, that is told before the end is.
  local counted = run.from == 'active' and not run.has_begun and 'waiting' or run.from
  if not run.has_begun and outcome.kind ~= 'completed' and not run.is_unbegun then
    tell_beginning(q, outcome.id, run.job, outcome.ran)
  end
  if flow and cancel_instead(run, made, counted) then
    flow = nil -- what follows is done
  else
    state = store_outcome(run, made)
  end
  local ended = state == 'completed' or state == 'failed'
  count_move(q, flow, counted, state)
  count_ended_rows(q, flow, run.job, outcome.rows, state)
  if run.is_shared then end_shared(run, state, ended) end
  if outcome.retention and not run.flow then apply_retention(q, state, outcome.id, outcome.retention) end
  if flow and run.is_root and ended then
    if state == 'failed' then note_cause(q, flow, first_failure(run.job)) end
    end_flow(q, flow, state)
  end
end
