-- may_start: may a job start, as far as its flow says? What must not leaves the line.
-- @touches nothing but what pauses, cancels and leaves alone
-- @use     needed set_aside cancel layout brakes bounds marks

local free_flows = {} -- flow -> may any of its jobs start, as far as the flow says? Asked once a flow and call

-- A flow of a known layout without brakes, bound and mark: there is nothing to ask for each of its jobs.
local function is_free(q, flow, newest_layout)
  if free_flows[flow] == nil then
    free_flows[flow] = not (brakes_of(q, flow) or bound_of(q, flow) or has_unknown_layout(q, flow, newest_layout))
                       and is_unmarked(q, flow)
  end
  return free_flows[flow]
end

-- Jobs of paused flows are set aside when popped; jobs of cancelled flows are cancelled; what a newer flownb stored is
-- left alone.
local function may_start(q, id, job, flow, from, newest_layout)
  brake_before_start(q, flow, job)
  if has_unknown_layout(q, flow, newest_layout) then
    leave_alone(q, id, job, flow, from)
  elseif is_cancelled(q, job, flow) then
    cancel(q, id, from)
  elseif not is_needed(q, job, flow, 'paused') and not has_pass(q, flow, job) then
    set_aside(q, id, flow, from)
  else
    return true
  end
end

-- Taken ahead, no brake could stop a job of this flow, and no bound would count it.
local function is_counted(q, flow) return flow and (brakes_of(q, flow) or bound_of(q, flow)) end
