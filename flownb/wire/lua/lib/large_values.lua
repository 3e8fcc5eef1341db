-- large_values: from which size on a batch's value is large: stored once, with its job; others get its length.
-- @touches flownb:flow processed
-- @use     types queue counts

local LARGE = 262144 -- bytes of JSON

-- What is stored in place of a large value that belongs to `flow`.
local function copy_for_flow(value, q, flow)
  if not flow then return value end
  if field_of(flow_key('flow', q, flow), 'kind') ~= 'batch' then return value end
  return '{"flownb:large":' .. int(#value) .. '}'
end

local function copy_for_parent(parent, value)
  if #value <= LARGE then return value end
  return copy_for_flow(value, queue_and_id(parent), redis.call('HGET', parent, 'fl'))
end

-- The job goes and its parent stays: the parent gets the whole value.
local function leave_value(parent, job)
  local value = field_of(job, 'returnvalue')
  if value and #value > LARGE and redis.call('HEXISTS', parent .. ':processed', job) == 1 then
    redis.call('HSET', parent .. ':processed', job, value)
  end
end
