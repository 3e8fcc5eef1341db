"""Workers: fetch jobs, run their functions in threads or processes, and write how they ended."""
