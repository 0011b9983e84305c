"""How hard a record is, and what the pool must know for it."""
