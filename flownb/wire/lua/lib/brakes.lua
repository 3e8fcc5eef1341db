-- brakes: a batch pauses when its budget is spent, when too many of its rows have failed, and after its pilot.
-- @touches flownb:brakes flownb:paused flownb:counts
-- @use     types queue counts marks spending layout

local LEAST_ENDED = 20 -- rows, before a share of failed ones says anything
local PILOT = '{"brake":"pilot"'

local brakes_read = {} -- flow -> its brakes, false where it has none; read once a flow and call
local flows_to_review = {}   -- flow -> a queue: in this call it has spent, or rows of it have ended

-- `base` and `name` say which jobs are rows, `row:<base> <name>` that later steps' are, too; `budget:<unit>`, `most`
-- failed rows or `percent` of those that ended; `ended` and `failed` count the rows of this run.
local function brakes_of(q, flow)
  local brakes = brakes_read[flow]
  if brakes == nil then
    brakes = false
    if read_of_record(q, flow)[2] then
      local flat = attempt('HGETALL', flow_key('brakes', q, flow)) or {}
      brakes = {budget = {}, bases = {}}
      for i = 1, #flat, 2 do
        local unit, base = flat[i]:match('^budget:(.+)$'), flat[i]:match('^row:(.+) [^ ]+$')
        if base or flat[i] == 'base' then brakes.bases[base or flat[i + 1]] = true end
        if unit then table.insert(brakes.budget, {unit, flat[i + 1]}) else brakes[flat[i]] = flat[i + 1] end
      end
    end
    brakes_read[flow] = brakes
  end
  return brakes
end

local function is_row(brakes, q, job)
  if not brakes.bases[q.base] then return false end
  local name = field_of(job, 'name')
  return q.base == brakes.base and name == brakes.name or brakes['row:' .. q.base .. ' ' .. (name or '')] ~= nil
end

-- A run of a flow's job has ended: so have these `rows` of a many-row job, or the job, which is in `state`.
local function count_ended_rows(q, flow, job, rows, state)
  count_rows(q, flow, rows)
  local brakes = flow and brakes_of(q, flow)
  if not brakes then return end
  flows_to_review[flow] = q
  rows = rows or state == 'completed' and {1, 0} or state == 'failed' and {0, 1}
  if not rows or not is_row(brakes, q, job) then return end
  local key = flow_key('brakes', q, flow)
  brakes.ended = attempt('HINCRBY', key, 'ended', rows[1] + rows[2]) or 0
  brakes.failed = attempt('HINCRBY', key, 'failed', rows[2]) or 0
end

local function too_many_failed(brakes)
  local ended, failed = number(brakes.ended), number(brakes.failed)
  if brakes.most then return failed > number(brakes.most) end
  return brakes.percent and ended >= LEAST_ENDED and failed * 100 > number(brakes.percent) * ended
end

-- Why the flow may start no further row, as JSON; nil where it may.
local function reason_to_pause(q, flow, brakes)
  for _, entry in ipairs(brakes.budget) do
    local unit, budget = entry[1], entry[2]
    local spent = field_of(account_key(q, flow), unit)
    if spent and tonumber(spent) >= tonumber(budget) then
      return '{"brake":"budget",' .. cjson.encode({unit = unit, spent = spent, budget = budget}):sub(2)
    end
  end
  if too_many_failed(brakes) then
    local most = brakes.most or brakes.percent .. '%'
    return '{"brake":"max_failures",' .. cjson.encode({failed = brakes.failed, ended = brakes.ended, most = most}):sub(2)
  end
end

local function paused_why(q, flow) return field_of(flow_key('counts', q, flow), 'paused@') end

-- Of two reasons the first is told; a pilot is over then, and its rows have no pass any more.
local function pause_by_brake(q, flow, why)
  local before = paused_why(q, flow)
  if before and before:sub(1, #PILOT) ~= PILOT then return end
  local flows, id = marked_in('paused', q, flow)
  attempt('SADD', flows, id)
  attempt('HSET', flow_key('counts', q, flow), 'paused@', why)
  forget_marks()
end

-- Does a row of the flow wait? What has ended in this call is not written into its counts yet.
local function has_waiting_rows(flow, brakes)
  local waiting = 0
  for base in pairs(brakes.bases) do
    local q = queue_at(base)
    local tally = tally_of(q, flow)
    for _, state in ipairs({'waiting', 'prioritized', 'delayed'}) do
      waiting = waiting + number(field_of(flow_key('counts', q, flow), state .. '@' .. q.base)) + (tally[state] or 0)
    end
  end
  return waiting > 0
end

-- Pause the flows of which rows have ended, or that have spent, where a brake says so and rows are left to hold.
local function review_brakes()
  for flow, q in pairs(flows_to_review) do
    local brakes = brakes_of(q, flow)
    local why = brakes and reason_to_pause(q, flow, brakes)
    if why and has_waiting_rows(flow, brakes) then pause_by_brake(q, flow, why) end
  end
end

-- A job of the flow is about to start: the first row of a call looks whether it may.
local function brake_before_start(q, flow, job)
  local brakes = brakes_of(q, flow)
  if not brakes or brakes.is_looked_at or not is_row(brakes, q, job) then return end
  brakes.is_looked_at = true
  local why = reason_to_pause(q, flow, brakes)
  if why then pause_by_brake(q, flow, why) end
end

-- Is the flow paused for its pilot, and this one of its rows?
local function has_pass(q, flow, job)
  local why = paused_why(q, flow)
  return why and why:sub(1, #PILOT) == PILOT and redis.call('HEXISTS', flow_key('pilot', q, flow), job) == 1
end
