-- end_flow: a flow ends with its root; what is to blame, and when something of the flow may be removed.
-- @touches flownb:flow flownb:tidy
-- @use     types queue counts

-- Let a worker look in so many ms whether something of the flow is to be removed. After an end whoever waits still gets
-- the value; before it the look is for roots that another program's worker ends.
local function look_later(record, ms)
  if not field_of(record, 'tidy') then return end
  local home, id = record:match('^(.*):flow:([^:]+)$')
  attempt('ZADD', home .. ':tidy', int(now + ms), id)
end

-- A flow's first failure that no policy forgave, kept for the one who asks why.
local function note_cause(q, flow, cause)
  if flow then attempt('HSETNX', flow_key('flow', q, flow), 'cause', cause) end
end

-- The deepest job that failed this one: down by who failed whom first; the job itself when no child did.
local function first_failure(job)
  local below = job
  for _ = 1, 1000 do
    below = (attempt('ZRANGE', job .. ':unsuccessful', 0, 0) or {})[1]
    if not below then return job end
    job = below
  end
  return job
end

-- The root runs, or waits, again.
local function undo_flow_end(record)
  attempt('HDEL', record, 'ended', 'finished')
  look_later(record, 60000)
end

-- The root has ended, and with it the flow; a flow that was cancelled has ended before. Where another end is written,
-- another program has put the root back since: what was to blame then is so no more.
local function end_flow(q, flow, state)
  local record = record_key(q, flow)
  if not record then return end
  local has = redis.call('HMGET', record, 'ended', 'root')
  if has[1] == 'cancelled' then return end
  redis.call('HSET', record, 'ended', state, 'finished', now_text)
  if has[1] then redis.call('HDEL', record, 'cause') end
  if has[1] and has[2] and state == 'failed' then redis.call('HSET', record, 'cause', first_failure(has[2])) end
  look_later(record, 10000)
end
