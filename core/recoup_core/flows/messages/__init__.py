"""Messages to customers: said within the contact budget, sent once, and what became of them."""
