"""What a record does to a model that reads it."""
