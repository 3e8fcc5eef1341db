--- resume_flow: workers start jobs of this flow again; those that were set aside go back to the head of their list.
-- One queue a call, and 500 of the jobs set aside in it: the caller asks again from `after` on until there is none. The first
-- call has `lift`: a brake may pause the flow again meanwhile.
-- @keys    queues
-- @args    now flow start lift
-- @returns after
-- @errors  KEY_DAMAGED
-- @use     types queue counts marks set_aside

local flows, id = marked_in('paused', queues[1], args.flow)
if not is_kind(flows, 'set') then return refuse('KEY_DAMAGED', flows) end
if args.lift then
  redis.call('SREM', flows, id)
  attempt('HDEL', flow_key('counts', queues[1], args.flow), 'paused@')
end
local after = is_sound(queues[1]) and restore_set_aside(queues[1], args.start) or nil
write_counts()
wake_workers()
return reply{after = after}
