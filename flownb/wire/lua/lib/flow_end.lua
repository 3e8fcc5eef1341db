-- flow_end: the end of a flow whose root another program's worker has ended, or another program has put back.
-- @touches flownb:flow
-- @use     queue counts end_flow parents

-- Does nothing where the record says of the root what is so.
local function write_late_end(root)
  if not is_sound_job(root) then return end
  local q, id = queue_and_id(root)
  local has = redis.call('HMGET', root, 'fl', 'parentKey', 'finishedOn')
  local record = has[1] and record_key(q, has[1])
  if not record or has[2] then return end
  local written = redis.call('HMGET', record, 'root', 'ended', 'finished')
  if written[1] ~= root or written[2] == 'cancelled' then return end
  local ended = ended_as(q, id)
  if ended and has[3] and (ended ~= written[2] or has[3] ~= written[3]) then
    end_flow(q, has[1], ended)
    redis.call('HSET', record, 'finished', has[3])
    if ended == 'failed' then redis.call('HSETNX', record, 'cause', first_failure(root)) end
  elseif written[2] and not ended and not has[3] then
    undo_flow_end(record)
    redis.call('HDEL', record, 'cause')
  end
end
