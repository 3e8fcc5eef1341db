--- claim_auto_remove: flows that ended a while ago, and of which something is to be removed, are this caller's for a minute.
-- One that has not ended is looked at once a minute: where another program's worker ended its root, that is written
-- down. One that is gone is forgotten. Who dies meanwhile leaves them to the next.
-- @keys    queues
-- @args    now prefix most
-- @returns flows now
-- @errors
-- @use     flow_end

local about, claimed = args.prefix .. ':flownb', {}
for _, flow in ipairs(redis.call('ZRANGEBYSCORE', about .. ':tidy', 0, now_text, 'LIMIT', 0, 500)) do
  local has = redis.call('HMGET', about .. ':flow:' .. flow, 'ended', 'root')
  if has[1] or has[2] and redis.call('EXISTS', has[2]) == 1 then
    redis.call('ZADD', about .. ':tidy', int(now + 60000), flow)
    if has[1] then claimed[#claimed + 1] = flow else write_late_end(has[2]) end
  else
    redis.call('ZREM', about .. ':tidy', flow)
  end
  if #claimed == args.most then break end
end
return reply{flows = claimed, now = now}
