"""Tasks: Python functions that can run as jobs, and how their parameters are filled."""
