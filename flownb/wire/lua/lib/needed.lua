-- needed: does anybody want a job to run? A job of a paused or cancelled flow may be shared with another flow.
-- @touches flownb:flow
-- @use     types queue counts parents marks

-- A flow's root has no first parent; jobs of other flows may wait for it all the same.
local function is_root(links)
  for _, link in ipairs(links) do
    if not link.is_further then return false end
  end
  return true
end

-- What the job itself says, without a look at its parents; nil: its parents decide.
local function is_needed_by_itself(q, flow, mark, links)
  if mark == 'cancelled' and is_root(links)
      and field_of(flow_key('flow', q, flow), 'ended') ~= 'cancelled' then
    return true
  end
  if #links == 0 then return false end
end

-- A parent that is gone leads nowhere; among cancelled flows one that failed does neither.
local function leads_nowhere(above, mark)
  return not above[1] or (mark == 'cancelled' and above[3] and not above[4])
end

-- In a flow without this mark every job is needed. In a flow with the mark a job is needed when a way up from it leads out
-- of such flows. When the mark is `cancelled`, a parent that failed leads nowhere, and a root is needed unless its flow
-- was cancelled by hand. `links` are the job's parents, where they are known.
local function is_needed(q, job, flow, mark, links)
  local climbed, needed = {}, nil -- parents on the way up; a long chain is climbed without recursion
  while needed == nil do
    if not (flow and marks_of(q, flow)[mark]) then
      needed = true
    else
      if not links then
        local has = fields_of(job, 'parentKey', 'sh')
        links = parents_of(job, nil, has[1], has[2])
      end
      needed = is_needed_by_itself(q, flow, mark, links)
    end
    local next_job
    for i, link in ipairs(needed == nil and links or {}) do
      local leads = ways_up[mark][link.key]
      if leads == nil then
        local above = redis.call('HMGET', link.key, 'name', 'fl', 'finishedOn', 'returnvalue')
        local above_q = queue_and_id(link.key)
        ways_up[mark][link.key] = false -- a way that leads back here leads nowhere
        if leads_nowhere(above, mark) then
          leads = false
        elseif #links > 1 then
          leads = is_needed(above_q, link.key, above[2], mark)
        else
          climbed[#climbed + 1] = link.key
          q, next_job, flow = above_q, link.key, above[2]
          break
        end
        ways_up[mark][link.key] = leads
      end
      if leads then needed = true break end
      if i == #links then needed = false end
    end
    job, links = next_job, nil
  end
  for _, parent in ipairs(climbed) do ways_up[mark][parent] = needed end
  return needed
end

-- Nobody needs this job any more: it must not run, or not again.
local function is_cancelled(q, job, flow, links)
  return flow and marks_of(q, flow).cancelled and not is_needed(q, job, flow, 'cancelled', links)
end
