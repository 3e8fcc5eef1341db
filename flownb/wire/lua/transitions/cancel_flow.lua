--- cancel_flow: the flow has ended as cancelled; its root, unless it runs or another flow needs it, goes to failed.
-- From now on no job of it starts; those in line are taken out by `cancel_jobs`, or by the worker that meets them.
-- A flow that has completed stays as it is. Of one that has failed, what is left is cancelled. Sent twice, it
-- changes nothing.
-- @keys    queues
-- @args    now flow
-- @returns ended
-- @errors
-- @use     queue counts needed cancel job_state forget

local record = flow_key('flow', queues[1], args.flow)
local has = redis.call('HMGET', record, 'root', 'ended')
if has[1] and has[2] ~= 'completed' then
  local flows, id = marked_in('cancelled', queues[1], args.flow)
  redis.call('SADD', flows, id)
  if not has[2] then
    has[2] = 'cancelled'
    end_flow(queues[1], args.flow, 'cancelled')
    local root = look_at(has[1])
    if root and is_over(root.q, root.key, root.flow, root.edges) and leave_line(root) then cancel(root.q, root.id, root.state) end
  end
end
write_counts()
return reply{ended = has[2] or nil}
