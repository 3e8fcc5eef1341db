-- delete_job: all that BullMQ keeps of a job is gone; it has left its state before.
-- @touches dependencies processed unsuccessful logs lock
-- @use

local OF_A_JOB = {'', ':lock', ':logs', ':dependencies', ':processed', ':failed', ':unsuccessful'}

local function delete_job(key)
  local keys = {}
  for i, name in ipairs(OF_A_JOB) do keys[i] = key .. name end
  redis.call('DEL', unpack(keys))
end
