"""Pure values and state tables: what may be true of money, payments, attempts and recovery cases.

No clock, no database, no gateway, no rules engine. Everything else imports this room; it imports nothing of ours.
"""
