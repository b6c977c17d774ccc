"""What a policy says about one payment at one moment, within the limits, and why."""
