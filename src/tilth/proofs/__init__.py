"""Test: train something small on a plan and measure the goal."""
