--- resume_flow: workers start jobs of this flow again; those that were set aside go back to the head of their list.
-- One queue a call, and 500 of the jobs set aside in it: the caller asks again from `after` on until there is none.
-- @keys    queues
-- @args    now flow start
-- @returns after
-- @errors
-- @use     queue counts marks set_aside

local flows, id = marked_in('paused', queues[1], args.flow)
redis.call('SREM', flows, id)
redis.call('HDEL', flow_key('counts', queues[1], args.flow), 'paused@')
local after = restore_set_aside(queues[1], args.start)
write_counts()
wake_workers()
return reply{after = after}
