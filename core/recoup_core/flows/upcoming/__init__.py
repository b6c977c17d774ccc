"""Charges that are to come: announced by the billing system, so that nobody is surprised by them or lets a card end."""
