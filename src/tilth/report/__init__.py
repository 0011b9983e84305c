"""The HTML report and the datasheet."""
