--- read_sizes: how many bytes of memory flows and jobs take on the server; nothing is written.
-- @keys    queues
-- @args    prefix flows jobs
-- @returns flows jobs
-- @errors
-- @use     types

-- Of a flow its record, counts, large inputs and account; of a job its hash and all keys beside it.
local home = args.prefix .. ':flownb:'
local PARTS = {':lock', ':logs', ':dependencies', ':processed', ':failed', ':unsuccessful'}

-- Of what may have very many entries some are looked at, by the server's own choice; of a record each.
local function size_of(key) return attempt('MEMORY', 'USAGE', key) or 0 end
local function size_of_record(key) return attempt('MEMORY', 'USAGE', key, 'SAMPLES', 0) or 0 end

local flows, jobs = {}, {}
for i, flow in ipairs(args.flows) do
  flows[i] = size_of_record(home .. 'flow:' .. flow) + size_of(home .. 'counts:' .. flow) + size_of(home .. 'inputs:' .. flow)
             + size_of(home .. 'spent:' .. flow)
end
for i, job in ipairs(args.jobs) do
  local size = size_of_record(job) + size_of(home .. 'children:' .. job) + size_of(home .. 'parents:' .. job)
  for _, part in ipairs(PARTS) do size = size + size_of(job .. part) end
  jobs[i] = size
end
return reply{flows = flows, jobs = jobs}
