"""Model-inversion attacks."""
