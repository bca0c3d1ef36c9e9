"""sd-scripts' `networks/flux_extract_lora.py`: the same flags. What they do here: --help."""

import sys

from scumble.cli.kohya_tools import main

if __name__ == "__main__":
    sys.exit(main("flux_extract_lora"))
