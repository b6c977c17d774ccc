"""What messages say: templates in files, by language, filled with declared variables. Pure: no clock, no database."""
