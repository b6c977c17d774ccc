"""Sets of policies: read from files, checked beside each other, chosen from, simulated together."""
