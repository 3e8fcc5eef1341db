--- read_cancelled: which of the given jobs nobody needs any more, or are gone; nothing is written.
-- `own_run` is the run whose function asks: nobody needs a run that does not count any more.
-- @keys    queues
-- @args    now jobs own_run
-- @returns cancelled
-- @errors
-- @use     queue needed own_run

local is_over = args.own_run and not still_runs(args.own_run)
local cancelled = {}
for i, job in ipairs(args.jobs) do
  local has = redis.call('HMGET', job, 'name', 'fl', 'defa', 'why', 'finishedOn')
  local q = queue_and_id(job)
  local is_cancelled_alone = has[4] == 'cancelled' or has[3] == 'cancelled' and not has[5]
  cancelled[i] = is_over or not has[1] or is_cancelled_alone or is_cancelled(q, job, has[2]) or false
end
return reply{cancelled = cancelled}
