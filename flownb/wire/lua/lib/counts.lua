-- counts: how many jobs of each flow are in which state.
-- @touches flownb:counts
-- @use     types

local moves = {} -- what `write_counts` writes: {key of the counts, queue key, tally}

-- The key of a flow's record or counts. A job's `fl` is the flow's id, with the prefix in front
-- when the flow lives under another prefix than the job.
local function flow_key(kind, q, flow)
  local prefix, id = flow:match('^(.*):([^:]+)$')
  if not prefix then
    prefix, id = q.base:match('^(.*):[^:]+$'), flow
  end
  return prefix .. ':flownb:' .. kind .. ':' .. id
end

-- The key of a flow's record; nil where something else is stored there: then nothing of the record is read or written.
local function record_key(q, flow)
  local key = flow_key('flow', q, flow)
  return is_kind(key, 'hash') and key or nil
end

-- The tally of one flow in one queue: state -> change. Kept with the queue: most calls ask for the same one for each job.
local function tally_of(q, flow)
  local tallies = q.tallies
  if not tallies then
    tallies = {}
    q.tallies = tallies
  end
  local tally = tallies[flow]
  if not tally then
    tally = {}
    tallies[flow] = tally
    moves[#moves + 1] = {flow_key('counts', q, flow), q.base, tally}
  end
  return tally
end

-- Note that a job of `flow` went from one state to another; `from` is nil for a new job, `to` for one that goes.
local function count_move(q, flow, from, to)
  if not flow or from == to then return end
  local tally = q.tallies and q.tallies[flow] or tally_of(q, flow)
  if from then tally[from] = (tally[from] or 0) - 1 end
  if to then tally[to] = (tally[to] or 0) + 1 end
end

-- Note how many rows of a many-row job were done, and how many failed for good; behind that, where they have steps, how
-- many have done each step, then how many have failed at each.
local function count_rows(q, flow, rows)
  if not flow or not rows then return end
  local tally = tally_of(q, flow)
  tally['rows-completed'] = (tally['rows-completed'] or 0) + rows[1]
  tally['rows-failed'] = (tally['rows-failed'] or 0) + rows[2]
  for i = 3, #rows do
    local step = 'rows-step-' .. (i - 2)
    tally[step] = (tally[step] or 0) + rows[i]
  end
end

-- Write what was noted: one HINCRBY a flow, queue and state, however many jobs moved. Counts that cannot be written are
-- left out: they follow from where jobs are, and are not worth a job.
local function write_counts()
  for _, move in ipairs(moves) do
    for state, n in pairs(move[3]) do
      if n ~= 0 then redis.pcall('HINCRBY', move[1], state .. '@' .. move[2], n) end
    end
  end
end
