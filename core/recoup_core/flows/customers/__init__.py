"""How customers are reached, and whether at all."""
