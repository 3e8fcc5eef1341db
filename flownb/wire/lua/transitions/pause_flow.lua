--- pause_flow: no worker of flownb's starts a job of this flow until it is resumed; running jobs go on.
-- A worker that pops a job of the flow sets it aside. Sent twice, the call changes nothing. `why` is what a person is told;
-- who pauses a flow by hand that a brake has paused leaves its reason, but for a pilot's: its rows are held, too.
-- @keys    queues
-- @args    now flow why
-- @returns
-- @errors  KEY_DAMAGED
-- @use     types queue counts marks

local flows, id = marked_in('paused', queues[1], args.flow)
if not is_kind(flows, 'set') then return refuse('KEY_DAMAGED', flows) end
if redis.call('EXISTS', flow_key('flow', queues[1], args.flow)) == 1 then
  local counts = flow_key('counts', queues[1], args.flow)
  local before = redis.call('SADD', flows, id) == 0 and not args.why and field_of(counts, 'paused@') or ''
  local keeps_reason = before:find('{"brake":', 1, true) == 1 and before:find('{"brake":"pilot"', 1, true) ~= 1
  if not keeps_reason then attempt('HSET', counts, 'paused@', args.why or '1') end -- for those who only count
end
return reply{}
