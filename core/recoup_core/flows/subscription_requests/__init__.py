"""What the billing system is asked to do with a subscription, until it says that it did."""
