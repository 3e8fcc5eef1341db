"""A stored flow as it is read: its tree, its counts, how it ended, how long it still takes."""
