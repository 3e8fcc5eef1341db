--- repair_flow: a flow's end is its root's; its counts are what was counted. No job moves.
-- `was` are the counts as they were when they were compared, `counts` what was found then: once a job has moved since,
-- they stay as they are. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now flow was counts
-- @returns
-- @errors
-- @use     types queue counts flow_end

local record = flow_key('flow', queues[1], args.flow)
local root = field_of(record, 'root')
if root then write_late_end(root) end

local counts = flow_key('counts', queues[1], args.flow)
local as_they_were = is_kind(counts, 'hash') and (next(args.was) ~= nil or redis.call('EXISTS', counts) == 0)
for field, n in pairs(args.was) do
  as_they_were = as_they_were and (tonumber(field_of(counts, field)) or -1) == n
end
if root and as_they_were then
  for field, n in pairs(args.counts) do
    if args.was[field] ~= n then redis.call('HSET', counts, field, int(n)) end
  end
end
return reply{}
