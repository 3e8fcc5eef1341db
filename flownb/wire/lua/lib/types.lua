-- types: keys and texts that are not what they should be: each spoils what it is part of, and nothing else.
-- @touches nothing but types, which are read

local kinds = {} -- key -> is it missing, or of the type that it should have? Asked once a key and call

local function is_kind(key, kind)
  if kinds[key] == nil then
    local found = redis.call('TYPE', key).ok
    kinds[key] = found == kind or found == 'none'
  end
  return kinds[key]
end

-- Write or read what no job needs to go on, such as an event: nil where its key has another type.
local function attempt(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end

-- Fields of a hash; a key that is no hash has none.
local function fields_of(key, ...)
  local has = redis.pcall('HMGET', key, ...)
  if has.err then
    has = {}
    for i = 1, select('#', ...) do has[i] = false end
  end
  return has
end

local function field_of(key, field) return fields_of(key, field)[1] end

-- A number stored as text; 0 where that says none, or one that is no time, no rank and no count.
local function number(text)
  if not text then return 0 end
  local n = tonumber(text)
  return n and n > -2^53 and n < 2^53 and n or 0
end

-- The whole numbers that a text lists.
local function numbers_in(text)
  local found = {}
  for n in text:gmatch('%d+') do found[#found + 1] = tonumber(n) end
  return found
end

-- The key of a job, in a form that can be cut into prefix, queue and id?
local function is_job_key(text) return text:find('^.+:[^:]+:[^:]+$') ~= nil end

-- A job's key, cut into its queue's key and its id. Ids hold no colon, but those of job schedulers' jobs; prefixes may.
local function base_and_id(key)
  if key:find(':repeat:', 1, true) then
    local base, id = key:match('^(.*):(repeat:[^:]+:%d+)$')
    if base then return base, id end
  end
  return key:match('^(.*):([^:]+)$')
end
