"""What numbers mean: each metric defined once, computed from values that storage reads."""
