-- set_aside: jobs of paused flows, kept in the list in which BullMQ 5 kept those of a paused queue.
-- @touches paused wait prioritized
-- @use     types queue counts enqueue needed

local MOST_RESTORED = 500 -- jobs a call

-- The job has left `from`; set aside it counts as waiting (prioritized -> waiting).
local function set_aside(q, id, flow, from)
  redis.call('LPUSH', q.paused, id)
  count_move(q, flow, from, 'waiting')
end

-- Look at some jobs that were set aside, from `start` on, the newest first. Those that may run go back to the head of
-- their list, the oldest to the very head (waiting -> prioritized for some). Returns where to go on; nil at the end.
local function restore_set_aside(q, start)
  local ids = redis.call('LRANGE', q.paused, start, start + MOST_RESTORED - 1)
  local restored = 0
  for i, id in ipairs(ids) do
    local job = job_key(q, id)
    local has = fields_of(job, 'fl', 'priority')
    if is_needed(q, job, has[1], 'paused') then
      local state = enqueue_first(q, id, number(has[2]))
      if state == 'prioritized' then count_move(q, has[1], 'waiting', state) end
      redis.call('LSET', q.paused, start + i - 1, '')
      restored = restored + 1
    end
  end
  if restored > 0 then redis.call('LREM', q.paused, restored, '') end
  return #ids == MOST_RESTORED and start + #ids - restored or nil
end
