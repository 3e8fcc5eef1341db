"""Live views of flows in a notebook: one reader thread for all of a kernel, one model a flow. Needs a front end."""
