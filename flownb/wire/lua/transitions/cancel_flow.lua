--- cancel_flow: the flow has ended as cancelled; its root, unless it runs or another flow needs it, goes to failed.
-- From now on no job of the flow starts; waiting ones are cancelled by `cancel_jobs`, or by the worker that pops them.
-- A root that is damaged stays where it is. A flow that has completed stays as it is. Of one that has failed, what is left
-- is cancelled. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now flow
-- @returns ended
-- @errors  KEY_DAMAGED
-- @use     types queue counts end_flow marks needed cancel job_state leave full_server

local record = record_key(queues[1], args.flow)
if not record then return refuse('KEY_DAMAGED', flow_key('flow', queues[1], args.flow)) end
local flows, id = marked_in('cancelled', queues[1], args.flow)
if not is_kind(flows, 'set') then return refuse('KEY_DAMAGED', flows) end
local has = redis.call('HMGET', record, 'root', 'ended')
local root_key, ended = has[1], has[2]
if root_key and ended ~= 'completed' then
  write_though_full(queues[1])
  redis.call('SADD', flows, id)
  if not ended then
    ended = 'cancelled'
    end_flow(queues[1], args.flow, ended)
    local root = read_job(root_key)
    if root and is_cancelled(root.q, root.key, root.flow, root.links) and leave_state(root) then
      cancel(root.q, root.id, root.state)
    end
  end
end
write_counts()
return reply{ended = ended or nil}
