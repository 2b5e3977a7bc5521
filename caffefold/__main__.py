"""``python -m caffefold``."""

from caffefold.cli.main import main

if __name__ == "__main__":
    main()
