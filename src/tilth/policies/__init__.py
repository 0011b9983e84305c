"""Decide: a plan in, a plan out."""
