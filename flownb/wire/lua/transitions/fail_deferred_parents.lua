--- fail_deferred_parents: waiting, prioritized or delayed -> failed; parents that are to fail because a child did.
-- Another program's worker that fails a child only marks the parent (`defa`) and puts it in line; so do our scripts
-- with a parent that is in line already. Whoever waits for such a flow fails the parents, up to the root, without a
-- worker of theirs. A parent that runs, or is damaged, is left alone.
-- @keys    queues
-- @args    now parents
-- @returns failed
-- @errors
-- @use     types queue counts end_flow parents fail_parent notify

local failed = 0
for _, parent in ipairs(args.parents) do
  local q, id = queue_and_id(parent)
  local has = fields_of(parent, 'fl', 'defa', 'finishedOn', 'parentKey', 'parent', 'sh')
  if has[1] and has[2] and not has[3] and is_sound_job(parent) and redis.call('EXISTS', parent .. ':unsuccessful') == 1 then
    local from
    if redis.call('LREM', q.wait, -1, id) == 1 then from = 'waiting'
    elseif redis.call('ZREM', q.prioritized, id) == 1 then from = 'prioritized'
    elseif redis.call('ZREM', q.delayed, id) == 1 then from = 'delayed' end
    if from then
      failed = failed + 1
      local cause, links = first_failure(parent), parents_of(parent, has[5], has[4], has[6])
      note_cause(q, has[1], cause)
      store_failed_parent(q, id, parent, has[2], from, has[1], not has[4])
      for _, link in ipairs(links) do count_move(q, link.flow, 'waiting', 'failed') end
      notify_failed(parent, has[2], links, cause)
    end
  end
end
write_counts()
wake_workers()
return reply{failed = failed}
