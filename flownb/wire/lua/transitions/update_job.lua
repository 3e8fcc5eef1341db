--- update_job: a job's progress, data or log row (a log is cut to `keepLogs`); its state stays as it is.
-- What a running job writes tells of its beginning too, unless that is known.
-- Data of a job that ended may be changed for a retry. `own_run` is the run whose function asks: it must still count.
-- @keys    queues
-- @args    now id field value keep own_run
-- @returns rows
-- @errors  KEY_DAMAGED JOB_MISSING JOB_ELSEWHERE JOB_CANCELLED
-- @use     types queue counts needed own_run begin

local q = queues[1]
local job = job_key(q, args.id)
if not is_kind(job, 'hash') then return refuse('KEY_DAMAGED', job) end
local has = redis.call('HMGET', job, 'name', 'fl', 'finishedOn', 'defa', 'processedOn')
if not has[1] then return refuse('JOB_MISSING', job) end
if args.own_run and not still_runs(args.own_run) then
  return refuse('JOB_ELSEWHERE', 'this run of the job is over, so it changes nothing any more: return')
end
if args.own_run and has[4] == 'cancelled' then return refuse('JOB_CANCELLED', 'it was cancelled by hand') end
if not has[3] and is_cancelled(q, job, has[2]) then
  return refuse('JOB_CANCELLED', 'its flow was cancelled, or what it is for has failed')
end
if args.field == 'log' and not is_kind(job .. ':logs', 'list') then return refuse('KEY_DAMAGED', job .. ':logs') end
if args.own_run and not has[5] and redis.call('GET', job .. ':lock') == args.own_run.token then
  tell_beginning(q, args.id, job)
  count_move(q, has[2], 'waiting', 'active')
end
local rows
if args.field == 'log' then
  rows = redis.call('RPUSH', job .. ':logs', args.value)
  if args.keep and rows > args.keep then
    redis.call('LTRIM', job .. ':logs', -args.keep, -1)
    rows = args.keep
  end
else
  redis.call('HSET', job, args.field, args.value)
  if args.field == 'progress' then
    emit_and_trim(q, 'progress', 'jobId', args.id, 'data', args.value)
  end
end
write_counts()
return reply{rows = rows}
