"""`python -m scumble` is the same as `scumble`."""

import sys

from scumble.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
