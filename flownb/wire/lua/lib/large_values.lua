-- large_values: a batch's large value is stored once, with its job; whoever else would hold a copy is told how long it is.
-- @touches flownb:flow processed
-- @use     queue counts

local LARGE = 262144 -- bytes of JSON

-- What stands in place of a value that belongs to `flow`. A short one costs one look at its length.
local function told_of(value, q, flow)
  if #value <= LARGE or not flow then return value end
  if redis.call('HGET', flow_key('flow', q, flow), 'kind') ~= 'batch' then return value end
  return '{"flownb:large":' .. int(#value) .. '}'
end

-- What a parent holds of a child's value.
local function told_to(parent, value)
  if #value <= LARGE then return value end
  return told_of(value, queue_and_id(parent), redis.call('HGET', parent, 'fl'))
end

-- The job goes and its parent stays: what the parent was told of becomes its own.
local function leave_value(parent, job)
  local value = redis.call('HGET', job, 'returnvalue')
  if value and #value > LARGE and redis.call('HEXISTS', parent .. ':processed', job) == 1 then
    redis.call('HSET', parent .. ':processed', job, value)
  end
end
