-- add_checks: what is in the way of jobs that are to be stored: keys that hold something else than they should.
-- @touches nothing but types, which are read
-- @use     types queue counts parents

local MOST_KEYS = 7000 -- that one command takes

local function first_of_another_type(keys, kind)
  for _, key in ipairs(keys) do
    if not is_kind(key, kind) then return key end
  end
end

-- Jobs that this call stores have no keys for children yet, nearly always: one look is for all of them.
local function have_no_keys(jobs, others)
  local keys = {}
  for _, key in ipairs(others) do keys[#keys + 1] = key end
  for _, job in ipairs(jobs) do
    for name in pairs(HELD) do keys[#keys + 1] = job .. name end
    for name in pairs(RARELY_HELD) do keys[#keys + 1] = job .. name end
  end
  return #keys == 0 or #keys <= MOST_KEYS and redis.call('EXISTS', unpack(keys)) == 0
end

-- A queue that is not sound, if there is one.
local function damaged_queue(asked)
  for _, q in ipairs(asked) do
    if not is_sound(q) then return q.base end
  end
end

-- Of parents, those that are stored already and those that are stored now; `hashes` are keys beside them.
local function damaged_parent(old, new, hashes)
  for _, parent in ipairs(old) do
    if not is_sound_job(parent) then return parent end
  end
  if have_no_keys(new, hashes) then return nil end
  for _, parent in ipairs(new) do
    if not is_sound_job(parent) then return parent end
  end
  return first_of_another_type(hashes, 'hash')
end

local function damaged_record(q, flow)
  local record = flow_key('flow', q, flow)
  local home = record:match('^(.*):flow:[^:]*$')
  return first_of_another_type({record, flow_key('counts', q, flow), home .. ':names'}, 'hash')
    or first_of_another_type({home .. ':flows'}, 'zset')
end
