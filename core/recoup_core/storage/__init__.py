"""The only SQL: schema, migrations, and the statements flows need. What must always hold is held here too."""
