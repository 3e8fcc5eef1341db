--- pause_flow: no worker of flownb's starts a job of this flow until it is resumed; running jobs go on.
-- A worker that pops a job of the flow sets it aside. Sent twice, the call changes nothing. `why` is what a person is told.
-- @keys    queues
-- @args    now flow why
-- @returns
-- @errors  KEY_DAMAGED
-- @use     types queue counts marks

local flows, id = marked_in('paused', queues[1], args.flow)
if not is_kind(flows, 'set') then return refuse('KEY_DAMAGED', flows) end
if redis.call('EXISTS', flow_key('flow', queues[1], args.flow)) == 1 then
  redis.call('SADD', flows, id)
  attempt('HSET', flow_key('counts', queues[1], args.flow), 'paused@', args.why or '1') -- for those who only count
end
return reply{}
