-- flow_record: stores a flow's record, and lets it go; its fields are the producer's (`adding/send.py`).
-- @touches flownb:flow flownb:flows flownb:names flownb:rows flownb:tidy flownb:spent flownb:paused flownb:counts
-- @use     types counts

local MOST_OF_A_NAME = 1000 -- flows among which one is sought

-- A name means its newest flow, which notes the one before: the name means that again when the newest is removed.
local function give_name(home, name, id)
  local former = field_of(home .. ':names', name)
  if former and former ~= id then redis.call('HSET', home .. ':flow:' .. id, 'former', former) end
  redis.call('HSET', home .. ':names', name, id)
end

-- Has somebody stored rows of the flow's name since its caller looked? `seen` is which flow the name meant then, and in how
-- many jobs of many rows were rows of it, if the caller has looked at these.
local function was_overtaken(q, flow_record)
  local seen = flow_record.seen
  if not seen then return false end
  local home = flow_key('flow', q, flow_record.id):match('^(.*):flow:[^:]*$')
  local newest = field_of(home .. ':names', flow_record.name)
  if newest ~= flow_record.id and (newest or '') ~= seen[1] then return true end
  return seen[2] and (attempt('HLEN', home .. ':rows:' .. flow_record.name) or seen[2]) ~= seen[2]
end

-- Whose account a later run of a batch's name has: that of the batch which the name means until now. Decided here, as of
-- two kernels that begin a name together each takes its own run for the first.
local function account_of_name(home, flow_record)
  local former = flow_record.joins and field_of(home .. ':names', flow_record.name)
  local record = former and former ~= flow_record.id and home .. ':flow:' .. former
  if not record or attempt('HEXISTS', record, 'spec') ~= 1 then return end
  local account = field_of(record, 'account') or former
  return account ~= flow_record.id and account or nil
end

-- The record is written once. A later run of a batch's name adds what it spends to the account of the first one, which
-- counts in `:flows` how many others have it.
local function store_flow_record(q, flow_record)
  local key = flow_key('flow', q, flow_record.id)
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'created', now_text, unpack(flow_record.fields))
    if flow_record.paused then
      redis.call('SADD', flow_key('paused', q, flow_record.id):match('^(.*):[^:]+$'), flow_record.id)
      attempt('HSET', flow_key('counts', q, flow_record.id), 'paused@', flow_record.paused)
    end
    local home = key:match('^(.*):flow:[^:]*$')
    local account = account_of_name(home, flow_record)
    if account then
      redis.call('HSET', key, 'account', account)
      attempt('HINCRBY', flow_key('spent', q, account), ':flows', 1)
    end
    redis.call('ZADD', home .. ':flows', now_text, flow_record.id)
    if flow_record.name then give_name(home, flow_record.name, flow_record.id) end
  end
  if flow_record.is_stored then redis.call('HSET', key, 'stored', '1') end
end

-- A flow that goes gives its name to the one that had it before; where it stands between two others, it is left out.
-- Answers whether the name means nothing any more.
local function take_name(home, name, id)
  local record, names = home .. ':flow:' .. id, home .. ':names'
  local former, owner = field_of(record, 'former'), field_of(names, name)
  if owner == id then
    if former and former ~= id and redis.call('EXISTS', home .. ':flow:' .. former) == 1 then
      redis.call('HSET', names, name, former)
      return false
    end
    return redis.call('HDEL', names, name) == 1
  end
  for _ = 1, MOST_OF_A_NAME do
    if not owner then return false end
    local newer, above = owner, home .. ':flow:' .. owner
    owner = field_of(above, 'former')
    if owner == id then
      if former and former ~= newer then redis.call('HSET', above, 'former', former) else redis.call('HDEL', above, 'former') end
      return false
    end
  end
  return false
end

-- A flow goes: its account goes with the last flow that has it.
local function leave_account(q, id)
  local account = field_of(flow_key('flow', q, id), 'account')
  local key = flow_key('spent', q, account or id)
  local others = account and attempt('HINCRBY', key, ':flows', -1) or tonumber(field_of(key, ':flows')) or 0
  if others <= 0 and not (account and redis.call('EXISTS', flow_key('flow', q, account)) == 1) then redis.call('DEL', key) end
end
