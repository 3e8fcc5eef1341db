--- remove_jobs: jobs are gone with all their keys, and at the last call their flow's record too.
-- Refused as a whole when one of them runs, unless its whole flow goes: then the end of that run is refused. Refused
-- too when somebody shares one that was not told. A shared job that stays is detached from the parents that go.
-- Sent twice, it removes nothing twice.
-- @keys    queues
-- @args    now prefix jobs going keep top flow name
-- @returns removed
-- @errors  JOB_ACTIVE JOB_SHARED
-- @use     queue counts job_state forget large_values

-- `going` are parents that go too, now or later: they are not released. `top` is a job whose other parents
-- stay, and wait for it no more. `keep` is a list of {key, parents that go}. `flow` is a flow that goes as a
-- whole, `name` its name, with the call that removes the last of it.

-- 1. Refuse.
local going, found = {}, {}
for _, key in ipairs(args.going) do going[key] = true end
for _, job in ipairs(args.jobs) do
  local at = look_at(job)
  if at then
    local runs = at.state == 'active' or redis.call('EXISTS', job .. ':lock') == 1
    if runs and not args.flow then return refuse('JOB_ACTIVE', job) end
    if job ~= args.top then
      for _, edge in ipairs(at.edges) do
        if not going[edge.key] and redis.call('EXISTS', edge.key) == 1 then return refuse('JOB_SHARED', job) end
      end
    end
    found[#found + 1] = at
  end
end

-- 2. Shared jobs stay, under the parents that are left.
for _, kept in ipairs(args.keep) do
  local at = look_at(kept[1])
  if at then
    local parents_gone = {}
    for _, key in ipairs(kept[2]) do parents_gone[key] = true end
    detach(at, parents_gone, args.flow)
  end
end

-- 3. The others go. A job that was not found may have left keys behind.
local line, about = {}, args.prefix .. ':flownb'
for _, at in ipairs(found) do
  local place = forget_job(at)
  if place == 'wait' then
    line[at.q] = line[at.q] or {}
    table.insert(line[at.q], at.id)
  end
  emit_and_trim(at.q, 'removed', 'jobId', at.id, 'prev', place)
  if at.key == args.top then
    for _, edge in ipairs(at.edges) do leave_value(edge.key, at.key) end
  end
end
for q, ids in pairs(line) do take_off(q, ids) end
for _, job in ipairs(args.jobs) do
  redis.call('DEL', job, job .. ':lock', job .. ':logs', job .. ':dependencies', job .. ':processed',
             job .. ':failed', job .. ':unsuccessful', args.prefix .. ':flownb:children:' .. job,
             job:match('^(.*):[^:]+:[^:]+$') .. ':flownb:parents:' .. job)
end
for _, at in ipairs(found) do
  if at.key == args.top then
    for _, edge in ipairs(at.edges) do let_go(edge.key, at.key) end
  end
end
write_counts()

-- 4. The flow's own record, counts and names.
if args.name then
  redis.call('DEL', flow_key('flow', queues[1], args.flow), flow_key('counts', queues[1], args.flow),
             flow_key('inputs', queues[1], args.flow))
  redis.call('ZREM', about .. ':flows', args.flow)
  redis.call('ZREM', about .. ':tidy', args.flow)
  redis.call('SREM', about .. ':paused', args.flow)
  redis.call('SREM', about .. ':cancelled', args.flow)
  if redis.call('HGET', about .. ':names', args.name) == args.flow then
    redis.call('HDEL', about .. ':names', args.name)
    redis.call('DEL', about .. ':rows:' .. args.name)
  end
end
wake_workers()
return reply{removed = #found}
