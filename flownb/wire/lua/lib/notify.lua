-- notify: a child has ended; each parent keeps how, and goes on, waits on or fails.
-- @touches dependencies processed failed unsuccessful completed
-- @use     queue release fail_parent large_values

local completing = {} -- keys of jobs that complete in this call

-- Notify a parent of many completed children at once; `values` are the JSON texts that `children` returned.
local function notify_completed(parent, children, values)
  local pending = parent .. ':dependencies'
  local awaited = redis.call('SMISMEMBER', pending, unpack(children))
  local done, results, n = {}, {}, 0
  for i = 1, #children do
    if awaited[i] == 1 then
      local child, value = children[i], values[i]
      if #value > LARGE then value = copy_for_parent(parent, value) end
      n = n + 1
      done[n], results[2 * n - 1], results[2 * n] = child, child, value
    end
  end
  if n == 0 then return end
  redis.call('SREM', pending, unpack(done))
  redis.call('HSET', parent .. ':processed', unpack(results))
  release_if_done(parent)
end

-- True for a parent that ran although a child failed (policy `cpof`) and that has completed, or completes in this call.
-- Later failures of its other children change nothing for it, until one of them is retried.
local function went_on_without(parent)
  if completing[parent] then return true end
  local q, id = queue_and_id(parent)
  return redis.call('ZSCORE', q.completed, id) and redis.call('HEXISTS', parent, 'fl') == 1
end

-- What one parent makes of a failed child, by its policy. Returns the parent where it fails at once.
local function notify_one(link, child, cause)
  if link.policy == 'fpof' and not went_on_without(link.key) then
    redis.call('ZADD', link.key .. ':unsuccessful', now_text, child.key)
    return fail_parent(link.key, child.key, cause, child.fate or 'failed')
  end
  if link.policy == 'cpof' or link.policy == 'idof' then
    redis.call('HSET', link.key .. ':failed', child.key, child.reason)
  end
  if link.policy == 'cpof' then release(link.key) else release_if_done(link.key) end
end

-- A job failed for good: its parents are notified, and those that fail of it notify theirs, up to the root.
-- `cause` is the job to blame where that is another one, `fate` what became of this one where it did not just fail.
local function notify_failed(job, reason, links, cause, fate)
  local failed = {{key = job, reason = reason, links = links, fate = fate}}
  while #failed > 0 do
    local child = table.remove(failed)
    for _, link in ipairs(child.links) do
      if link.policy ~= '' and redis.call('SREM', link.key .. ':dependencies', child.key) == 1 then
        failed[#failed + 1] = notify_one(link, child, cause or job)
      end
    end
  end
end
