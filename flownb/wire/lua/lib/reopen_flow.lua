-- reopen_flow: a flow that had ended goes on, as jobs of it are retried; the failure to blame may be another one now.
-- @touches flownb:flow flownb:cancelled failed
-- @use     types queue counts end_flow marks

local causes_to_review = {} -- flow's record -> a parent that another failed child keeps failed; false where there is none

local function review_cause(q, flow, kept_failed)
  if not flow then return end
  local record = flow_key('flow', q, flow)
  causes_to_review[record] = kept_failed or causes_to_review[record] or false
end

-- Jobs of this flow may run again.
local function unmark_cancelled(q, flow)
  if flow and marks_of(q, flow).cancelled then
    local flows, id = marked_in('cancelled', q, flow)
    attempt('SREM', flows, id)
    forget_marks()
  end
end

-- A cancelled flow gets the end of its root, or none.
local function reopen_flow(q, flow)
  unmark_cancelled(q, flow)
  local record = flow_key('flow', q, flow)
  local has = fields_of(record, 'ended', 'root')
  if has[1] ~= 'cancelled' or not has[2] then return end
  local root = fields_of(has[2], 'finishedOn', 'returnvalue', 'why')
  if root[3] == 'cancelled' then return end -- it runs again with its children
  if root[1] then
    redis.call('HSET', record, 'ended', root[2] and 'completed' or 'failed', 'finished', root[1])
    review_cause(q, flow)
  else
    undo_flow_end(record)
  end
end

local function has_failed(job)
  if not is_job_key(job) then return false end
  local q, id = queue_and_id(job)
  return ended_as(q, id) == 'failed'
end

-- A cause that is no failed job any more is replaced by the failure that is left. A flow that stays failed always has one.
local function write_causes()
  for record, kept_failed in pairs(causes_to_review) do
    local has = fields_of(record, 'cause', 'ended', 'root')
    local cause, failed = has[1], has[2] == 'failed'
    local blamed = kept_failed or failed and has[3]
    if cause and not has_failed(cause) or failed and not cause then
      if blamed then
        redis.call('HSET', record, 'cause', first_failure(blamed))
      else
        redis.call('HDEL', record, 'cause')
      end
    end
  end
end
