--- write_flow_end: a flow whose root another program has ended, or put back, gets its end written or taken back; no job moves.
-- Flownb's own scripts write it as they move the root. Sent twice, the call changes nothing.
-- @keys    queues
-- @args    now root
-- @returns
-- @errors
-- @use     flow_end

write_late_end(args.root)
return reply{}
