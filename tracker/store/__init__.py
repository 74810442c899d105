"""Everything that is kept: one noun a file. Only this room knows SQL."""
