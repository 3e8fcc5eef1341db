--- read_flows: what flows' records and counts say, and which flow has each one's name by now; nothing is written.
-- @keys    queues
-- @args    prefix flows fields
-- @returns flows
-- @errors
-- @use     types

-- A flow: {value of each field, counts as fields and numbers, the newest flow of its name}; where one of its keys has another
-- type, or is not there, what it would have said is missing.
local home, flows = args.prefix .. ':flownb:', {}
for i, flow in ipairs(args.flows) do
  local record = fields_of(home .. 'flow:' .. flow, 'name', unpack(args.fields))
  local newest = record[1] and field_of(home .. 'names', record[1])
  flows[i] = {record, attempt('HGETALL', home .. 'counts:' .. flow) or false, newest or false}
end
return reply{flows = flows}
