"""``python -m tilth``: the command line."""

from tilth.cli import main

if __name__ == "__main__":
    main()
