"""Values in files: which values go there, where they are, under which names, and what stands for them in JSON."""
