-- forget_child: a parent goes on without a child that was removed.
-- @touches dependencies unsuccessful failed flownb:flow
-- @use     queue counts release parents

-- The flow's first failure is gone: the parent that it failed is to blame now.
local function move_blame(parent)
  local q, id = queue_and_id(parent)
  local flow = redis.call('HGET', parent, 'fl')
  local record = flow and record_key(q, flow)
  local cause = record and redis.call('HGET', record, 'cause')
  if not cause or redis.call('EXISTS', cause) == 1 then return end
  if redis.call('ZSCORE', q.failed, id) then
    redis.call('HSET', record, 'cause', parent)
  elseif redis.call('HEXISTS', record, 'ended') == 1 then
    redis.call('HSET', record, 'cause', redis.call('HGET', record, 'root') or parent)
  else
    redis.call('HDEL', record, 'cause')
  end
end

-- The parent does not wait for the child any more, and does not fail because of it; a value that it has it keeps.
local function forget_child(parent, child)
  if redis.call('EXISTS', parent) == 0 or not is_sound_job(parent) then return end
  redis.call('ZREM', parent .. ':unsuccessful', child)
  local pending = parent .. ':dependencies'
  if redis.call('SREM', pending, child) == 1 and redis.call('SCARD', pending) == 0 then release_at_once(parent) end
  move_blame(parent)
end
