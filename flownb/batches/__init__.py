"""Batches: rows of a DataFrame become jobs, their values become rows again."""
