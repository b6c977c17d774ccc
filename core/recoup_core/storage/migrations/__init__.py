"""Forward-only migrations, one change each, applied in order by `recoup migrate`."""
