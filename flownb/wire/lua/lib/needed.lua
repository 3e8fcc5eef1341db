-- needed: which flows are paused, or have jobs that nobody needs any more; nearly always there are none.
-- @touches flownb:paused flownb:cancelled flownb:flow
-- @use     queue counts parents

local UNMARKED = {}
local ways = {paused = {}, cancelled = {}} -- parent's key -> does the way up through it lead to somebody who needs it?

-- The set of paused or cancelled flows, and the id of this flow in it.
local function marked_in(word, q, flow)
  local home, id = flow_key(word, q, flow):match('^(.*):([^:]+)$')
  return home, id
end

-- {paused = , cancelled = } of a flow. While no flow is marked, one EXISTS a queue and call is all this costs.
local function marks_of(q, flow)
  if not q.marks then
    local about = q.base:match('^(.*):[^:]+$') .. ':flownb:'
    q.marks = {}
    q.unmarked = redis.call('EXISTS', about .. 'paused', about .. 'cancelled') == 0
  end
  if q.unmarked and not flow:find(':', 1, true) then return UNMARKED end
  local marks = q.marks[flow]
  if not marks then
    marks = {}
    for _, word in ipairs({'paused', 'cancelled'}) do
      marks[word] = redis.call('SISMEMBER', marked_in(word, q, flow)) == 1
    end
    q.marks[flow] = marks
  end
  return marks
end

local function forget_marks()
  for _, q in pairs(queues_seen) do q.marks = nil end
  ways = {paused = {}, cancelled = {}}
end

-- A flow's root has no first parent; jobs of other flows may wait for it all the same.
local function is_root(edges)
  for _, edge in ipairs(edges) do
    if not edge.beside then return false end
  end
  return true
end

-- Does anybody want this job to run? In a flow that is not marked with `word`: yes. In one that is: only when
-- a way up from it leads out of such flows, as that of a shared job may. When `word` is `cancelled`, a parent
-- that failed leads nowhere, and a root leads somewhere unless its flow was cancelled by hand.
-- `edges` are its parents, where they are known.
local function is_needed(q, job, flow, word, edges)
  local trail, needed = {}, nil
  while needed == nil do
    if not (flow and marks_of(q, flow)[word]) then
      needed = true
      break
    end
    if not edges then
      local has = redis.call('HMGET', job, 'parentKey', 'sh')
      edges = parents_of(job, nil, has[1], has[2])
    end
    if word == 'cancelled' and is_root(edges)
        and redis.call('HGET', flow_key('flow', q, flow), 'ended') ~= 'cancelled' then
      needed = true
      break
    end
    if #edges == 0 then needed = false break end
    local above_all = edges
    edges = nil
    for i, edge in ipairs(above_all) do
      local leads = ways[word][edge.key]
      if leads == nil then
        local above = redis.call('HMGET', edge.key, 'name', 'fl', 'finishedOn', 'returnvalue')
        if not above[1] or (word == 'cancelled' and above[3] and not above[4]) then
          leads = false
        elseif #above_all > 1 then
          leads = is_needed(queue_at(edge.key:match('^(.*):[^:]+$')), edge.key, above[2], word)
        else -- a long chain is climbed without recursion
          trail[#trail + 1] = edge.key
          q, job, flow = queue_at(edge.key:match('^(.*):[^:]+$')), edge.key, above[2]
          break
        end
        ways[word][edge.key] = leads
      end
      if leads then needed = true break end
      if i == #above_all then needed = false end
    end
  end
  for _, parent in ipairs(trail) do ways[word][parent] = needed end
  return needed
end
