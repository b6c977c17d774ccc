"""Outbound webhooks by the Standard Webhooks specification (standardwebhooks.com), at least once each.

An event is spread to the endpoints that want it, in the transaction that moves the follower on; each endpoint has one
job that sends what waits for it, so that a slow one holds nobody up but itself. See docs/webhooks-out.md.
"""
