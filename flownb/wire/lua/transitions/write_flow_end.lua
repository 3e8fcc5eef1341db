--- write_flow_end: a flow whose root another program's worker has ended gets its end written down; no job moves.
-- Flownb's own workers write it as they end the root. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now root
-- @returns
-- @errors
-- @use     flow_end

write_late_end(args.root)
return reply{}
