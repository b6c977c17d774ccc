"""What an author wants to know before a policy counts: lint, coverage, differences, simulations, replays."""
