"""Models that somebody else trained: one file for each way to them."""
