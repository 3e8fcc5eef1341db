"""Live views of flows in a notebook: one reader thread for each kernel, one model for each flow."""
