"""The stories: a failed payment becomes a case, a due retry becomes an attempt, an answer becomes what happens next.

Each step of a flow is one transaction; a gateway is never called inside one. What a step decides is decided by plain
functions over a case file that was read under the payment's lock; what they want written is collected in `Changes`.
"""
