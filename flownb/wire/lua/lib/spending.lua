-- spending: what runs of a job say that they have spent: kept with the job, added once to the account of its flow.
-- @touches flownb:spent
-- @use     types queue counts weights

local MOST_ENTRIES = 64 -- of a job; beyond these the oldest runs' become one, of run 0
local MOST_OF_ROWS = 16384 -- bytes, beyond which of each row only the most is kept
local MOST_PARTS = '9223372036854775807' -- of a unit that the server can count

-- The key of the account in which a flow's amounts are added up: later runs of a batch's name share the first one's.
local function account_key(q, flow)
  local own = flow_key('spent', q, flow)
  local account = field_of(flow_key('flow', q, flow), 'account')
  return account and own:match('^(.*):[^:]+$') .. ':' .. account or own
end

local function add_to_account(q, flow, unit, parts)
  local added = redis.pcall('HINCRBY', account_key(q, flow), unit, int(parts))
  if type(added) == 'table' and added.err:find('overflow') then
    attempt('HSET', account_key(q, flow), unit, MOST_PARTS)
  end
end

-- `<ats>:<unit>:<parts> ...`: what each run has told. Returns it as ats -> unit -> parts, and how many entries there are.
local function spent_by_run(text)
  local runs, entries = {}, 0
  for ats, unit, parts in (text or ''):gmatch('(%d+):([^%s:]+):(%d+)') do
    ats = tonumber(ats)
    runs[ats] = runs[ats] or {}
    runs[ats][unit] = (runs[ats][unit] or 0) + tonumber(parts)
    entries = entries + 1
  end
  return runs, entries
end

local function in_text(runs, entries, newest)
  local found = {}
  for ats, units in pairs(runs) do
    for unit, parts in pairs(units) do
      local run = entries > MOST_ENTRIES and ats < newest and 0 or ats
      found[#found + 1] = int(run) .. ':' .. unit .. ':' .. int(parts)
    end
  end
  table.sort(found)
  return table.concat(found, ' ')
end

-- The run `ats` of a job has spent `amounts` so far: {unit, parts, ...}. What was told before is not added again, so a
-- call may come twice, late, or with less than another one brought. Lua's numbers are exact up to 2^53 parts, and for
-- whole units far beyond.
local function note_spent(q, job, flow, ats, amounts)
  local runs, entries = spent_by_run(field_of(job, 'spent'))
  runs[ats] = runs[ats] or {}
  local is_new = false
  for i = 1, #amounts, 2 do
    local unit, parts = amounts[i], amounts[i + 1]
    local before = runs[ats][unit] or 0
    local more = parts - before
    if more > 0 then
      use_spent(q, job, unit, before, parts)
      runs[ats][unit], is_new = parts, true
      if flow then add_to_account(q, flow, unit, more) end
    end
  end
  if is_new then attempt('HSET', job, 'spent', in_text(runs, entries, ats)) end
end

-- `<position>:<unit>:<parts> ...`: of what a row has told of a unit, the most.
local function most_of_rows(text)
  local most, found = {}, {}
  for of, parts in text:gmatch('(%d+:[^%s:]+):(%d+)') do
    most[of] = math.max(most[of] or 0, tonumber(parts))
  end
  for of, parts in pairs(most) do found[#found + 1] = of .. ':' .. int(parts) end
  table.sort(found)
  return table.concat(found, ' ')
end

-- Rows of a running job have spent so much, over all of their runs: {position, unit, parts, ...}. What is appended here
-- counts until a run saves its rows with what they have spent.
local function note_spent_by_rows(job, rows)
  if #rows == 0 then return end
  local text = field_of(job, 'rspent') or ''
  if #text > MOST_OF_ROWS then text = most_of_rows(text) end
  for i = 1, #rows, 3 do
    text = text .. ' ' .. int(rows[i]) .. ':' .. rows[i + 1] .. ':' .. int(rows[i + 2])
  end
  attempt('HSET', job, 'rspent', text)
end
