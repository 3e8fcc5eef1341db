-- set_aside: jobs of paused flows, kept in the list in which BullMQ 5 kept those of a paused queue.
-- @touches paused wait prioritized
-- @use     queue counts needed

local PIECE_ASIDE = 500

-- Put aside, which counts as waiting (prioritized -> waiting). The job has left its line.
local function put_aside(q, id, flow, from)
  redis.call('LPUSH', q.paused, id)
  count_move(q, flow, from, 'waiting')
end

-- Look at 500 jobs put aside, from `start` on, the newest first; those that may run go back to the head of
-- their line (waiting -> prioritized for some), the oldest at its very head. Returns where to go on; nil when all were looked at.
local function put_back(q, start)
  local ids = redis.call('LRANGE', q.paused, start, start + PIECE_ASIDE - 1)
  local back = 0
  for i, id in ipairs(ids) do
    local job = job_key(q, id)
    local has = redis.call('HMGET', job, 'fl', 'priority')
    if is_needed(q, job, has[1], 'paused') then
      local priority = tonumber(has[2]) or 0
      if priority > 0 then
        redis.call('ZADD', q.prioritized, int(priority * 4294967296), id)
        count_move(q, has[1], 'waiting', 'prioritized')
      else
        redis.call('RPUSH', q.wait, id)
      end
      redis.call('LSET', q.paused, start + i - 1, '')
      back = back + 1
    end
  end
  if back > 0 then
    redis.call('LREM', q.paused, back, '')
    q.has_new_work = true
  end
  return #ids == PIECE_ASIDE and start + #ids - back or nil
end
