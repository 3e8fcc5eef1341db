--- write_end: a flow whose root another program's worker has ended gets its end written down; no job moves.
-- Flownb's own workers write it as they end the root. Sent twice, it changes nothing.
-- @keys    queues
-- @args    now root
-- @returns
-- @errors
-- @use     queue counts

local q, id = queue_and_id(args.root)
local has = redis.call('HMGET', args.root, 'fl', 'parentKey', 'finishedOn')
local record = has[1] and flow_key('flow', q, has[1])
if record and not has[2] and has[3] and redis.call('HGET', record, 'root') == args.root
    and redis.call('HEXISTS', record, 'ended') == 0 then
  local ended = redis.call('ZSCORE', q.completed, id) and 'completed'
    or redis.call('ZSCORE', q.failed, id) and 'failed'
  if ended then
    end_flow(q, has[1], ended)
    redis.call('HSET', record, 'finished', has[3])
    if ended == 'failed' then redis.call('HSETNX', record, 'cause', first_failure(args.root)) end
  end
end
return reply{}
