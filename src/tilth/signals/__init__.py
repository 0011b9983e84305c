"""Measure: columns from records."""
