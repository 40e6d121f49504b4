"""`python -m opengrid.cli` is `grid`."""

from opengrid.cli.main import main

if __name__ == "__main__":
    main()
