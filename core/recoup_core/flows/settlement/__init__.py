"""What gateways settled: reports come in, lines are matched and booked, and what does not fit waits for somebody."""
