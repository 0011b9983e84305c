"""tilth decides what a language model should be trained on, and proves the choice on small models."""

__version__ = "0.1.0"
