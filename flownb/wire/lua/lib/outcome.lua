-- outcome: what a worker says of the end of a run, and whether that counts; the job leaves `active`.
-- @touches active lock wait paused prioritized dependencies unsuccessful failed
-- @use     types
-- @row     outcome base id token attempts_started kind value version ran unusual
-- @row     unusual reason stacktrace attempts why delay lifo hold eager retention rows printed keep_logs spent

-- Outcomes come part behind part, see `packed` in outcomes.py.
local PARTS_OF_AN_OUTCOME = 9

-- What is read of a job whose run has ended; nothing of a key that is no hash.
local function read_for_end(job)
  local has = redis.pcall('HMGET', job, 'ats', 'parentKey', 'fl', 'ft', 'atm', 'sh', 'deid', 'processedOn')
  return has.err and {} or has
end

-- The run of a job: the outcome whose parts begin behind `at`, with what the job `has`.
local function run_at(outcomes, at, token, q, job, has)
  local unusual = outcomes[at + 9]
  local run = {
    q = q, job = job, id = outcomes[at + 2], token = token,
    kind = outcomes[at + 5] or 'completed', value = outcomes[at + 6], version = outcomes[at + 7],
    ran = outcomes[at + 8],
    parent_key = has[2], flow = has[3], attempts_made = number(has[5]), is_shared = has[6], has_begun = has[8],
  }
  if unusual then
    for name, value in pairs(unusual_of(unusual)) do run[name] = value end
    run.is_unbegun = run.kind == 'unbegun'
  end
  return run
end

-- May this worker say how the job ended? It may when it holds the lock, or when its lock ran out and nobody has started
-- the job since: `ats` grows with every start. Returns a word for "no". `may_be_held` says that children keep one or other
-- of this call's jobs from completing.
local function refusal(run, attempts_started, lock, has, may_be_held)
  local token, kind = run.token, run.kind
  if not has[1] then return 'missing' end
  if has[4] == token then return 'repeated' end
  if kind == 'begun' and lock ~= token then return 'stale' end
  if lock and lock ~= token then return 'stale' end
  if not lock and tonumber(has[1]) ~= attempts_started then return 'stale' end
  if kind == 'completed' and may_be_held or kind == 'parked' then
    if redis.call('EXISTS', run.job .. ':unsuccessful') == 1 then return 'failed-children' end
    -- In flownb's flows a parent that a failed child let run (cpof) does not wait for the others.
    local may_go_on = kind == 'parked' or run.flow and redis.call('EXISTS', run.job .. ':failed') == 1
    if not may_go_on and redis.call('EXISTS', run.job .. ':dependencies') == 1 then return 'pending-children' end
  end
end

-- The job leaves `active`; or, when its lease had run out, the list or set to which it was put back. Not true where it is in
-- none of them.
local function leave_active(run)
  local q, id = run.q, run.id
  if redis.call('LREM', q.active, -1, id) == 1 then run.from = 'active'
  elseif redis.call('LREM', q.wait, -1, id) == 1 or redis.call('LREM', q.paused, 1, id) == 1 then run.from = 'waiting'
  elseif redis.call('ZREM', q.prioritized, id) == 1 then run.from = 'prioritized' end
  return run.from
end
