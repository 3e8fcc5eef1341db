--- save_rows: active -> active; a running many-row job keeps what its rows have come to, and those that ended count.
-- `part` replaces what was kept before. `rows` says how many rows this run has done so far, and how many have failed, behind
-- that the same of their steps: what a former call of the run has counted is not counted again, so a call may be sent
-- twice. Rows of a cancelled job are kept too; the run is told.
-- @keys    queues
-- @args    now id part rows own_run
-- @returns is_cancelled
-- @errors  JOB_MISSING JOB_ELSEWHERE
-- @use     types queue counts parents needed own_run

local q = queues[1]
local job = job_key(q, args.id)
local has = fields_of(job, 'name', 'fl', 'sh', 'saved')
if not has[1] then return refuse('JOB_MISSING', job) end
if not still_runs(args.own_run) then
  return refuse('JOB_ELSEWHERE', 'this run of the job is over, so it changes nothing any more: return')
end

local run, counted = (has[4] or ''):match('^(%d+)([ %d]+)$')
if tonumber(run) ~= args.own_run.attempts_started then counted = '' end
local before, rows, saved = numbers_in(counted), {}, int(args.own_run.attempts_started)
for i, n in ipairs(args.rows) do
  rows[i] = n - (before[i] or 0)
  saved = saved .. ' ' .. int(n)
end
count_rows(q, has[2], rows)
for _, link in ipairs(parents_of(job, nil, nil, has[3])) do count_rows(q, link.flow, rows) end

redis.call('HSET', job, 'part', args.part, 'saved', saved)
write_counts()
return reply{is_cancelled = is_cancelled(q, job, has[2])}
