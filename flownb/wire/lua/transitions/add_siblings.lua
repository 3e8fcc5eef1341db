--- add_siblings: nothing -> waiting, prioritized or delayed; jobs in which rows of a running job go on.
-- They stand below each parent of that job from the start on, and each flow that has such a parent counts them: none is
-- held for a flow that is paused while another one needs it, and no flow misses an end. Parents in flows that were cancelled
-- are left out. A job that is there already gains the parents that it lacks. Sent twice, a call adds nothing twice.
-- @keys    queues
-- @args    now job jobs opts piece packed
-- @returns added
-- @errors  KEY_DAMAGED PARENT_MISSING FLOW_CANCELLED
-- @use     types queue counts notify parents add_parent add_checks marks new_job
-- @row     job_row queue id name data opts parents details
-- @row     job_details delay priority lifo has_children bind flow_prefix keep weights

-- `packed` are the jobs as each parent lists them among its children, as its piece number `piece`.
local q = queues[1]
local has = fields_of(args.job, 'parentKey', 'parent', 'sh', 'fl')

-- Links to the parents below which the jobs come; only the first of each flow has a `flow`. Nothing, and a code word with
-- what it is about, where there is no such parent.
local function links_of_siblings()
  local links, counting, cancelled = {}, {}, nil
  for _, link in ipairs(parents_of(args.job, has[2], has[1], has[3])) do
    local above = fields_of(link.key, 'name', 'fl')
    local flow = above[1] and (link.is_further and above[2] or has[4])
    if flow and was_cancelled(q, flow) then
      cancelled = flow
    elseif flow then
      link.link = link.is_further and stored_link(link) or has[2]
      link.flow = not counting[flow] and flow or nil
      counting[flow] = true
      links[#links + 1] = link
    end
  end
  if #links > 0 then return links end
  if cancelled then return nil, 'FLOW_CANCELLED', cancelled end
  return nil, 'PARENT_MISSING', args.job
end

local function children_key(parent) return prefix_of_job(parent) .. ':flownb:children:' .. parent end

-- 1. Refuse.
if not is_sound(q) then return refuse('KEY_DAMAGED', q.base) end
local links, word, about = links_of_siblings()
if not links then return refuse(word, about) end

local rows, job_keys, parents, hashes = {}, {}, {}, {}
for i, link in ipairs(links) do
  parents[i] = link.key
  hashes[#hashes + 1] = children_key(link.key)
end
for i, packed in ipairs(args.jobs) do
  local row = job_row_of(packed)
  row.details = row.details and job_details_of(row.details) or NO_DETAILS
  rows[i], job_keys[i] = row, job_key(q, row.id)
  hashes[#hashes + 1] = job_keys[i]
  hashes[#hashes + 1] = further_parents_key(job_keys[i])
end
local damaged = damaged_parent(parents, {}, hashes)
if damaged then return refuse('KEY_DAMAGED', damaged) end

-- 2. The jobs. Where the one that runs has a pass while its flow is paused for its pilot, so have they.
local own_flow, added, failed_before = links[1].flow, 0, {}
local function add(job, row)
  store_any(job, row, row.details, args.opts[row.opts], own_flow, links)
  emit(q, 'added', 'jobId', row.id, 'name', row.name)
  count_move(q, own_flow, nil, begin(q, row.id, row.details))
  for i, link in ipairs(links) do
    if i > 1 then count_move(q, link.flow, nil, 'waiting') end
  end
  added = added + 1
end

for i, row in ipairs(rows) do
  local job = job_keys[i]
  if redis.call('EXISTS', job) == 0 then
    add(job, row)
  else
    emit(q, 'duplicated', 'jobId', row.id)
    for _, link in ipairs(links) do
      failed_before[#failed_before + 1] = add_parent(q, job, link, link.flow, true)
    end
  end
  for _, link in ipairs(links) do
    local pilot = link.flow and flow_key('pilot', q, link.flow)
    if pilot and attempt('HEXISTS', pilot, args.job) == 1 then redis.call('HSET', pilot, job, '1') end
  end
end

write_grouped()
if added > 0 then attempt('INCRBY', q.id, added) end
trim_events(q)
for _, link in ipairs(links) do redis.call('HSETNX', children_key(link.key), args.piece, args.packed) end
for _, child in ipairs(failed_before) do notify_failed(child.key, child.reason, child.links) end
write_counts()
wake_workers()
return reply{added = added}
