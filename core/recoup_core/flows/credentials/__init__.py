"""Means of payment: what becomes of them, who may be tried on them, and where customers renew them."""
