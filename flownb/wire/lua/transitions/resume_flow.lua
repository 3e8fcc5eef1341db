--- resume_flow: workers start jobs of this flow again; those that were put aside go back to the head of their line.
-- One queue a call, and 500 of the jobs put aside in it: the caller asks again from `after` on until there is none.
-- @keys    queues
-- @args    now flow start
-- @returns after
-- @errors
-- @use     queue counts needed set_aside

local flows, id = marked_in('paused', queues[1], args.flow)
redis.call('SREM', flows, id)
redis.call('HDEL', flow_key('counts', queues[1], args.flow), 'paused@')
local after = put_back(queues[1], args.start)
write_counts()
wake_workers()
return reply{after = after}
