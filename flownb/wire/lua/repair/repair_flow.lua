--- repair_flow: a flow that has ended by its record alone goes on; its counts are what was counted. No job moves.
-- `was` are the counts as they were when they were compared, `counts` what was found then: once a job has moved since,
-- they stay as they are. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now flow was counts
-- @returns
-- @errors
-- @use     queue counts flow_record

local record = flow_key('flow', queues[1], args.flow)
local has = redis.call('HMGET', record, 'root', 'ended')
if has[1] and has[2] and has[2] ~= 'cancelled'
    and redis.call('HEXISTS', has[1], 'name') == 1 and redis.call('HEXISTS', has[1], 'finishedOn') == 0 then
  redis.call('HDEL', record, 'ended', 'finished', 'cause')
  look_later(record, 60000)
end

local counts = flow_key('counts', queues[1], args.flow)
local as_they_were = next(args.was) ~= nil or redis.call('EXISTS', counts) == 0
for field, n in pairs(args.was) do
  as_they_were = as_they_were and tonumber(redis.call('HGET', counts, field)) == n
end
if has[1] and as_they_were then
  for field, n in pairs(args.counts) do
    if args.was[field] ~= n then redis.call('HSET', counts, field, int(n)) end
  end
end
return reply{}
