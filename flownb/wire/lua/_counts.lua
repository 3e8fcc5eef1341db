-- _counts: how many jobs of each flow are in which state, and the flow's own record.
-- @touches flownb:counts flownb:flow
-- @use     queue

local moves = {}

-- The key of a flow's record or counts. A job's `fl` is the flow's id, with the prefix in front
-- when the flow lives under another prefix than the job.
local function flow_key(kind, q, flow)
  local prefix, id = flow:match('^(.*):([^:]+)$')
  if not prefix then
    prefix, id = q.base:match('^(.*):[^:]+$'), flow
  end
  return prefix .. ':flownb:' .. kind .. ':' .. id
end

local function add_to(key, field, n)
  local fields = moves[key]
  if not fields then
    fields = {}
    moves[key] = fields
  end
  fields[field] = (fields[field] or 0) + n
end

-- Note that a job of `flow` went from one state to another; `from` is nil for a new job.
local function count_move(q, flow, from, to)
  if not flow then return end
  local key = flow_key('counts', q, flow)
  if from then add_to(key, from .. '@' .. q.base, -1) end
  add_to(key, to .. '@' .. q.base, 1)
end

-- Write what was noted: one HINCRBY a flow, queue and state, however many jobs moved.
local function write_counts()
  for key, fields in pairs(moves) do
    for field, n in pairs(fields) do
      if n ~= 0 then redis.call('HINCRBY', key, field, n) end
    end
  end
end

-- The root has ended, and with it the flow.
local function end_flow(q, flow, state)
  redis.call('HSET', flow_key('flow', q, flow), 'ended', state, 'finished', int(now))
end
