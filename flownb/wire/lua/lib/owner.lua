-- owner: the job that stands for a deduplication id when another one is added, by BullMQ's modes.
-- @touches de dn delayed active events
-- @use     types queue enqueue deduplication delete_job

-- The id is `new`'s from now on, for `ttl` ms or until its job ends.
local function own(key, new, ttl, keeps_ttl)
  if keeps_ttl then return redis.call('SET', key, new, 'KEEPTTL') end
  if ttl then return redis.call('SET', key, new, 'PX', int(ttl)) end
  redis.call('SET', key, new)
end

local function tell(q, owner, how, new)
  emit_and_trim(q, 'deduplicated', 'jobId', owner, 'deduplicationId', how.id, 'deduplicatedJobId', new)
end

-- The delayed owner goes, and the new job takes its place.
local function take_place(q, owner, row, how)
  if redis.call('ZREM', q.delayed, owner) == 0 then return false end
  delete_job(job_key(q, owner))
  emit(q, 'removed', 'jobId', owner, 'prev', 'delayed')
  tell(q, row.id, how, owner)
  redis.call('DEL', key_of(q, ':dn', how.id))
  return true
end

-- The delayed owner is due when the new job would have been.
local function put_owner_off(q, owner, row)
  if redis.call('ZREM', q.delayed, owner) == 0 then return end
  local due = now + row.details.delay
  redis.call('HSET', job_key(q, owner), 'delay', int(row.details.delay))
  put_off(q, owner, due)
  emit_and_trim(q, 'delayed', 'jobId', owner, 'delay', int(due))
end

-- The new job follows when its owner has ended; the last one that is added does.
local function keep_behind(q, row, how, opts, key)
  local kept = key_of(q, ':dn', how.id)
  redis.call('DEL', kept)
  redis.call('HSET', kept, 'name', row.name, 'data', row.data, 'opts', opts, 'jid', row.id)
  redis.call('PERSIST', key)
end

-- Returns the id of the job that lives on in place of the new one; nil where that is to be added.
local function owner_instead(q, row, how, opts)
  local key = key_of(q, ':de', how.id)
  local ttl = not how.keep_last and how.ttl and how.ttl > 0 and how.ttl or nil
  local owner = attempt('GET', key)
  local is_gone = owner and redis.call('PTTL', key) == -1 and redis.call('EXISTS', job_key(q, owner)) == 0
  if is_gone then redis.call('DEL', key_of(q, ':dn', how.id)) end
  if not owner or is_gone then
    own(key, row.id, ttl)
    return nil
  elseif how.replace and take_place(q, owner, row, how) then
    own(key, row.id, ttl, ttl and not how.extend)
    return nil
  end
  local follows = how.keep_last and redis.call('LPOS', q.active, owner)
  if follows then keep_behind(q, row, how, opts, key) end
  if ttl and how.extend and not how.replace then redis.call('PEXPIRE', key, int(ttl)) end
  if how.replace and not follows then return owner end
  tell(q, owner, how, row.id)
  if how.reschedule and not how.replace then put_owner_off(q, owner, row) end
  return owner
end
