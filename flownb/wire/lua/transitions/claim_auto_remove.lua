--- claim_auto_remove: flows that ended a while ago, and of which something is to be removed, are this caller's for a minute.
-- A flow that has not ended is looked at once a minute: where another program's worker ended its root, the end is
-- written now; where it put the root back, the flow goes on. A flow that is gone is forgotten. If the caller dies, the next one claims the flows a minute later.
-- @keys    queues
-- @args    now prefix most
-- @returns flows now
-- @errors
-- @use     types flow_end queue

local home, claimed = args.prefix .. ':flownb', {}
for _, flow in ipairs(attempt('ZRANGEBYSCORE', home .. ':tidy', 0, now_text, 'LIMIT', 0, 500) or {}) do
  local record = home .. ':flow:' .. flow
  local has = fields_of(record, 'ended', 'root')
  if not is_kind(record, 'hash') then
    redis.call('ZADD', home .. ':tidy', int(now + 60000), flow) -- until somebody has repaired it
  elseif has[1] or has[2] and redis.call('EXISTS', has[2]) == 1 then
    redis.call('ZADD', home .. ':tidy', int(now + 60000), flow)
    if has[2] then write_late_end(has[2]) end
    if has[1] and field_of(record, 'ended') then claimed[#claimed + 1] = flow end
  else
    redis.call('ZREM', home .. ':tidy', flow)
  end
  if #claimed == args.most then break end
end
return reply{flows = claimed, now = now}
