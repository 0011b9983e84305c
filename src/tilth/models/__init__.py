"""Small models, each file readable from top to bottom."""
