-- end_run: what the end of one run means for the job, its parents, its flow and all counts.
-- @touches flownb:shared
-- @use     types counts flow_record parents notify fail_parent marks finish needed cancel retention begin print holds brakes

-- A run is its outcome, with {q, job, lock, from, has_begun, is_unbegun, parent, is_root, flow, attempts_made, is_shared, further,
-- is_notified_later}: one table a job. It left the state `from`; its beginning was told (`has_begun`), or it goes back without one
-- (`is_unbegun`); `parent` is the first one, where that can be told.
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
  for _, run in ipairs(runs) do
    if run.kind == 'completed' then
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
  hold_queue(run.q, run.hold, tonumber(run.has_begun) or now - (run.ran or 0), run.flow)
end

-- Somebody has cancelled this one job meanwhile (`defa`): where it would have run again, it ends with this run. What would
-- have gone back without a charge is charged no attempt.
local function end_if_cancelled(run)
  if run.kind == 'completed' or run.kind == 'failed' or field_of(run.job, 'defa') ~= 'cancelled' then return end
  if run.kind ~= 'retry' then run.attempts_made = run.attempts_made - 1 end
  if run.is_unbegun and run.from == 'active' then redis.call('HINCRBY', run.job, 'ats', -1) end
  hold_queue_of(run)
  run.kind, run.reason, run.why = 'failed', 'cancelled', 'cancelled'
  run.stacktrace = run.stacktrace or field_of(run.job, 'stacktrace') or '[]'
  run.attempts = math.huge -- it did not run out of them
end

-- A job that nobody needs any more is cancelled where it would have run again. False where it has ended, or is needed.
local function cancel_instead(run, made, counted)
  if run.kind == 'completed' or run.kind == 'failed' and run.why ~= 'cancelled' then return false end
  if not is_cancelled(run.q, run.job, run.flow) then return false end
  redis.call('HSET', run.job, 'ft', run.token)
  if run.reason then redis.call('HSET', run.job, 'atm', made, 'stacktrace', run.stacktrace) end
  hold_queue_of(run)
  cancel(run.q, run.id, counted, run.reason)
  return true
end

local function store_failure(run, made)
  local links = parents_of(run.job, redis.call('HGET', run.job, 'parent'), run.parent)
  for _, link in ipairs(further_parents(run)) do links[#links + 1] = link end
  notify_failed(run.job, run.reason, links)
  for _, link in ipairs(links) do count_move(run.q, link.flow, 'waiting', 'failed') end
  store_failed(run, made)
  if run.flow then cancel_pending(run.q, run.flow, run.job) end
  if #failed_parents > 0 then forget_marks() end
end

-- Returns the state of the job after this run.
local function store_outcome(run, made)
  if run.kind == 'completed' then
    store_completed(run, made)
    -- A late end: the job was put back meanwhile, perhaps to be failed as stalled.
    if run.from ~= 'active' then redis.call('HDEL', run.job, 'defa') end
    return 'completed'
  elseif run.kind == 'failed' then
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
  if run.kind ~= 'completed' then write_completed() end -- what follows may ask which jobs have
  local q, flow = run.q, run.flow
  local made, state = run.attempts_made + 1, nil
  if run.printed then print_lines(run.job, run.printed, run.keep_logs) end
  -- What was taken ahead counts as waiting. Where it has begun since, that is told before the end is.
  local counted = run.from == 'active' and not run.has_begun and 'waiting' or run.from
  if not run.has_begun and run.kind ~= 'completed' and not run.is_unbegun then
    tell_beginning(q, run.id, run.job, run.ran)
  end
  if flow and cancel_instead(run, made, counted) then
    flow = nil -- what follows is done
  else
    state = store_outcome(run, made)
  end
  local ended = state == 'completed' or state == 'failed'
  count_move(q, flow, counted, state)
  count_ended_rows(q, flow, run.job, run.rows, state)
  if run.is_shared then end_shared(run, state, ended) end
  if run.retention and not run.flow then apply_retention(q, state, run.id, run.retention) end
  if flow and run.is_root and ended then
    if state == 'failed' then note_cause(q, flow, first_failure(run.job)) end
    end_flow(q, flow, state)
  end
end
