--- claim_tidy: flows that ended a while ago, and of which something is to be removed, are this caller's for a minute.
-- A flow that goes on, because it was retried, or is gone, is forgotten. Who dies meanwhile leaves them to the next.
-- @keys    queues
-- @args    now prefix most
-- @returns flows now
-- @errors
-- @use     queue

local about, claimed = args.prefix .. ':flownb', {}
for _, flow in ipairs(redis.call('ZRANGEBYSCORE', about .. ':tidy', 0, now_text, 'LIMIT', 0, args.most)) do
  if redis.call('HEXISTS', about .. ':flow:' .. flow, 'ended') == 1 then
    redis.call('ZADD', about .. ':tidy', int(now + 60000), flow)
    claimed[#claimed + 1] = flow
  else
    redis.call('ZREM', about .. ':tidy', flow)
  end
end
return reply{flows = claimed, now = now}
