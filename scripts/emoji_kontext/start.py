"""Put the folder together from which `builtin:emoji-kontext` is trained.

`python scripts/emoji_kontext/start.py OUT` copies `builtin:emoji-flux`, whose network takes
references as it is: they are further tokens of the same kind. Only the pipeline's name changes.
"""

import argparse
import json
import shutil
from pathlib import Path

from scumble.families.builtin import TRAINED


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    shutil.copytree(TRAINED["emoji-flux"], out, ignore=shutil.ignore_patterns("NOTICE"))
    index = json.loads((out / "model_index.json").read_text())
    index["_class_name"] = "FluxKontextPipeline"
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
