"""Refunds: asked for, decided, approved by people, sent, settled, and told; one transaction a step."""
