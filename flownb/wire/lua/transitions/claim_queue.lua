--- claim_queue: this kernel runs these functions for a queue, if the other kernels' notes are still those that it has read.
-- `seen` has a row for each of those notes: the kernel, its code, and whether the kernel is gone and is forgotten.
-- Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now kernel code seen
-- @returns claimed
-- @errors
-- @use     queue

local key = prefix_of(queues[1]) .. ':flownb:tasks:' .. queues[1].base
local others = redis.call('HLEN', key) - redis.call('HEXISTS', key, args.kernel)
for _, note in ipairs(args.seen) do
  if redis.call('HGET', key, note[1]) ~= note[2] then return reply{claimed = false} end
  others = others - 1
end
if others ~= 0 then return reply{claimed = false} end
for _, note in ipairs(args.seen) do
  if note[3] then redis.call('HDEL', key, note[1]) end
end
redis.call('HSET', key, args.kernel, args.code)
return reply{claimed = true}
