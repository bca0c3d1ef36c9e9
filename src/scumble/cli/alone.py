"""One command in a process that does not outlive whoever launched it.

Started as `python -m scumble.cli.alone WORDS`, with a pipe as standard input into which nobody
writes: once it is closed, the other end is gone, and nobody waits for an answer any more.
"""

import os
import sys
import threading

from scumble.cli.app import main


def _leave_with_them() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_them, name="launcher", daemon=True).start()
    sys.exit(main())
