--- remove_child_dependency: a parent goes on without this child, which becomes a job of its own: waiting-children -> waiting.
-- A child that has ended stays what it is to its parent. A shared one stays under its other parents; one that no parent of
-- its flow is left for leaves the flow. Sent twice, a call answers as if the second one was the first.
-- @keys    queues
-- @args    now job parent
-- @returns removed leaves_flow
-- @errors  KEY_DAMAGED JOB_MISSING PARENT_MISSING
-- @use     queue counts parents job_state forget_child detach

local job, parent = read_job(args.job), args.parent
if not job then return refuse(redis.call('EXISTS', args.job) == 1 and 'KEY_DAMAGED' or 'JOB_MISSING', args.job) end
if redis.call('EXISTS', parent) == 0 then return refuse('PARENT_MISSING', parent) end
if not is_sound_job(parent) then return refuse('KEY_DAMAGED', parent) end

if job.first_parent ~= parent then return reply{removed = true, leaves_flow = not job.flow} end
if redis.call('SISMEMBER', parent .. ':dependencies', job.key) == 0 then return reply{removed = false} end
local flow = job.flow
detach(job, {[parent] = true}, nil, nil)
forget_child(parent, job.key)
local leaves_flow = flow and redis.call('HGET', job.key, 'fl') ~= flow
write_counts()
wake_workers()
return reply{removed = true, leaves_flow = leaves_flow}
