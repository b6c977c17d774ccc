"""What the staff is told: noticed as events are followed, gathered by reader and kind, sent, muted; digests, anomalies.

Nothing in a note tells of a customer: ids, kinds, counts and sums only. Whoever wants more looks it up with a key.
"""
