-- weights: limits of a queue that count what its jobs weigh, in units of the caller's, and what is used up of them.
-- @touches flownb:used
-- @use     types queue

-- The field `limits` of a queue's `meta` has them: `<most> <ms of a window> <unit>`, with semicolons between. Windows follow
-- one another without a gap while jobs begin in each, so that a worker which asks late costs nothing of the rate; the first
-- one begins with a job. What is used beyond `most`, as a run has spent more than its job weighed, counts in the next ones.
local UNKNOWN = '?' -- the weight of a job whose worker is to find it out before the job begins
local ROUNDING = 1 + 1e-9
local PARTS = 1e9 -- of a unit: in these runs tell what they spend

local function used_key(q) return prefix_of(q) .. ':flownb:used:' .. q.base end

local function begin_window(limit)
  local past = math.floor((now - limit.start) / limit.ms)
  if past < 0 then limit.start = now end -- the server's clock was put back
  if past > 0 then
    limit.used = math.max(limit.used - past * limit.most, 0)
    limit.start = limit.start + past * limit.ms
    if limit.used == 0 and past > 1 then limit.start = now end
  end
end

-- Read the limits that stand in `text`, and what is used of them.
local function read_weight_limits(q, text)
  local limits, fields = {}, {}
  for most, ms, unit in text:gmatch('([^%s;]+) (%d+) ([^;]+)') do
    local limit = {most = tonumber(most) or 0, ms = tonumber(ms), unit = unit, field = unit .. '/' .. ms}
    if limit.most > 0 and limit.ms > 0 then
      limits[#limits + 1] = limit
      fields[#fields + 1] = limit.field
    end
  end
  if #limits == 0 then return nil end
  local has = fields_of(used_key(q), unpack(fields))
  for i, limit in ipairs(limits) do
    local start, used = (has[i] or ''):match('^(%d+) (%S+)$')
    limit.start, limit.used = tonumber(start) or now, tonumber(used) or 0
    begin_window(limit)
  end
  return limits
end

-- The limits by weight of a queue; nil where it has none.
local function weight_limits(q, text)
  if q.weight_limits == nil then q.weight_limits = text and read_weight_limits(q, text) or false end
  return q.weight_limits or nil
end

local function weights_of(job)
  local text, weights = field_of(job, 'wt'), {}
  for unit, weight in (text or ''):gmatch('(%S+)=(%S+)') do weights[unit] = tonumber(weight) end
  return weights, text == UNKNOWN
end

local function use(q, limit, amount)
  limit.used = math.max(limit.used + amount, 0)
  q.has_used = true
end

-- A job is about to begin, and its weight is used up of each limit, or of none: then `q.full_ms` says in how many ms to
-- ask again. One that is heavier than a limit begins in an empty window. Of a unit that its job does not name a job weighs 1.
local function may_use(q, job)
  local weights, is_unknown = weights_of(job)
  if is_unknown then return true, true end
  for _, limit in ipairs(q.weight_limits) do
    local weight = weights[limit.unit] or 1
    if weight > 0 and limit.used > 0 and limit.used + weight > limit.most * ROUNDING then
      q.full_ms = math.max(q.full_ms or 1, limit.start + limit.ms - now)
    end
  end
  if q.full_ms then return false end
  for _, limit in ipairs(q.weight_limits) do use(q, limit, weights[limit.unit] or 1) end
  return true
end

-- A job did not begin that had used its weight `age` ms ago.
local function refund_weight(q, job, age)
  local weights = weights_of(job)
  for _, limit in ipairs(q.weight_limits) do
    if now - age >= limit.start then use(q, limit, -(weights[limit.unit] or 1)) end
  end
end

-- A run says that it has spent `parts` of a unit, `before` of which it had said already. What goes beyond its
-- job's weight is used up as well, in the present window and the next ones.
local function use_spent(q, job, unit, before, parts)
  max_events(q) -- which reads the limits as well
  for _, limit in ipairs(weight_limits(q, q.limits) or {}) do
    if limit.unit == unit then
      local weight = weights_of(job)[unit] or 1
      use(q, limit, math.max(parts / PARTS - math.max(before / PARTS, weight), 0))
    end
  end
end

-- A run has ended that began at `began`, and has spent `spent` ({unit, parts, ...}): what its job weighed more is free
-- again, in the window in which it began.
local function free_unspent(q, job, began, spent)
  for _, limit in ipairs(weight_limits(q, q.limits) or {}) do
    for i = 1, #spent, 2 do
      if limit.unit == spent[i] and began >= limit.start then
        use(q, limit, math.min(spent[i + 1] / PARTS - (weights_of(job)[limit.unit] or 1), 0))
      end
    end
  end
end

local function write_used()
  for _, q in pairs(queues_seen) do
    if q.has_used then
      local fields, longest = {}, 1
      for _, limit in ipairs(q.weight_limits) do
        fields[#fields + 1] = limit.field
        fields[#fields + 1] = int(limit.start) .. ' ' .. string.format('%.17g', limit.used)
        longest = math.max(longest, limit.ms * (math.ceil(limit.used / limit.most) + 1))
      end
      attempt('HSET', used_key(q), unpack(fields))
      attempt('PEXPIRE', used_key(q), int(math.min(longest, 2 ^ 50)))
    end
  end
end
