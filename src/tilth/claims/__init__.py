"""Reproduce: one file per claim of a paper."""
