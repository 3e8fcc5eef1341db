--- remove_jobs: jobs are gone with all their keys, and with the last call their flow's record too.
-- Refused as a whole when one of the jobs runs, unless its whole flow goes: then the end of that run is refused. Refused
-- too when somebody shares a job that the caller did not know to be shared, and when its queue is damaged. A shared job that stays is detached from the
-- parents that go. Sent twice, a call removes nothing twice.
-- @keys    queues
-- @args    now prefix removal
-- @returns removed
-- @errors  KEY_DAMAGED JOB_ACTIVE JOB_SHARED
-- @use     types queue flow_record counts job_state lists leave forget_child detach large_values parents full_server
-- @map     removal jobs going staying top flow name
-- @row     detachment key parents

-- `going` are parents that go too, now or later: they are not released. `top` is a job whose other parents stay, and
-- wait for it no more. `staying` are shared jobs. `flow` is a flow that goes as a whole, `name` its name, with the call
-- that removes the last job.
local removal = args.removal
local top, flow = removal.top, removal.flow

local function as_set(items)
  local set = {}
  for _, item in ipairs(items) do set[item] = true end
  return set
end

-- 1. Refuse.
local going, found = as_set(removal.going), {}
for _, key in ipairs(removal.jobs) do
  local q = queue_and_id(key)
  if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
  local job = read_job(key, true)
  if job then
    local runs = job.state == 'active' or redis.call('EXISTS', key .. ':lock') == 1
    if runs and not flow then return refuse('JOB_ACTIVE', key) end
    for _, link in ipairs(key ~= top and job.links or {}) do
      if not going[link.key] and redis.call('EXISTS', link.key) == 1 then return refuse('JOB_SHARED', key) end
    end
    found[#found + 1] = job
  end
end

write_though_full(queues[1])

-- 2. Shared jobs stay, under the parents that are left.
for _, packed in ipairs(removal.staying) do
  local detachment = detachment_of(packed)
  local job = read_job(detachment.key)
  if job then detach(job, as_set(detachment.parents), flow, top) end
end

-- 3. The others go. A job that was not found may have left keys behind.
local waiting, top_job = {}, nil
for _, job in ipairs(found) do
  local state = forget_job(job)
  if state == 'wait' then
    waiting[job.q] = waiting[job.q] or {}
    table.insert(waiting[job.q], job.id)
  end
  emit_and_trim(job.q, 'removed', 'jobId', job.id, 'prev', state)
  if job.key == top then top_job = job end
end
for _, link in ipairs(top_job and top_job.links or {}) do leave_value(link.key, top) end
for q, ids in pairs(waiting) do remove_from_lists(q, ids) end
for _, key in ipairs(removal.jobs) do
  redis.call('DEL', key, key .. ':lock', key .. ':logs', key .. ':dependencies', key .. ':processed',
             key .. ':failed', key .. ':unsuccessful', args.prefix .. ':flownb:children:' .. key,
             further_parents_key(key))
end
for _, link in ipairs(top_job and top_job.links or {}) do forget_child(link.key, top) end
write_counts()

-- 4. The flow's own record, counts and names.
if removal.name then
  local home, q, name = args.prefix .. ':flownb', queues[1], removal.name
  if take_name(home, name, flow) then redis.call('DEL', home .. ':rows:' .. name) end
  leave_account(q, flow)
  redis.call('DEL', flow_key('flow', q, flow), flow_key('counts', q, flow), flow_key('inputs', q, flow),
             flow_key('brakes', q, flow), flow_key('pilot', q, flow), flow_key('aside', q, flow))
  attempt('ZREM', home .. ':flows', flow)
  attempt('ZREM', home .. ':tidy', flow)
  attempt('SREM', home .. ':paused', flow)
  attempt('SREM', home .. ':cancelled', flow)
end
wake_workers()
return reply{removed = #found}
