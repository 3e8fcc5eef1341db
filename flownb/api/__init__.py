"""The handles a user holds: producer, flow, job, queue, events, lists."""
