"""What can be concluded from trials: each file states its formula and source, and its tests know the truth."""
