--- read_returnvalues: what the given jobs have returned, those first in the list that fit into so many bytes; nothing is written.
-- Of a job that has not completed, or is not there, the value is false.
-- @keys    queues
-- @args    jobs bytes
-- @returns values
-- @errors
-- @use

local values, size = {}, 0
for i, key in ipairs(args.jobs) do
  local text = redis.call('HGET', key, 'returnvalue')
  values[i] = text
  size = size + (text and #text or 0)
  if size >= args.bytes then break end
end
return reply{values = values}
