-- flow_end: the end of a flow whose root another program's worker has ended.
-- @touches flownb:flow
-- @use     queue counts flow_record

-- Does nothing where the end is written already.
local function write_late_end(root)
  local q, id = queue_and_id(root)
  local has = redis.call('HMGET', root, 'fl', 'parentKey', 'finishedOn')
  local record = has[1] and flow_key('flow', q, has[1])
  if not record or has[2] or not has[3] or redis.call('HGET', record, 'root') ~= root
      or redis.call('HEXISTS', record, 'ended') == 1 then
    return
  end
  local ended = ended_as(q, id)
  if ended then
    end_flow(q, has[1], ended)
    redis.call('HSET', record, 'finished', has[3])
    if ended == 'failed' then redis.call('HSETNX', record, 'cause', first_failure(root)) end
  end
end
