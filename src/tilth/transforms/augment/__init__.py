"""Records made of other records."""
