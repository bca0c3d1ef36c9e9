"""flux_train_network.py of sd-scripts, its options unchanged; see docs/sd-scripts.md."""

import sys

if __name__ == "__main__":
    from scumble.cli.app import main

    sys.exit(main(["kohya", "flux_train_network", *sys.argv[1:]]))
