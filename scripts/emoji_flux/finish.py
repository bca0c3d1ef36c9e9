"""Put `builtin:emoji-flux` into the package, from what it was started with and what was trained.

`python scripts/emoji_flux/finish.py START TRAINED` takes every part of START (start.py) but the
transformer's weights, which it takes from the file that the run delivered, in bf16.
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

HOME = Path(__file__).parents[2] / "src" / "scumble" / "families" / "emoji_flux"
NOTICE = """\
The weights in this folder were trained from scratch (docs/builtin-models.md) on pictures of

Fluent Emoji, 3D style: Copyright (c) Microsoft Corporation, Copyright (c) 2023 LobeHub,
MIT licence, from the npm package @lobehub/fluent-emoji-3d 1.1.0;

Noto Emoji: Copyright Google LLC, Apache License 2.0, from the npm package emoji-datasource-google
16.0.0, whose emoji.json (Copyright (c) 2013 Cal Henderson, MIT licence) gave the captions.
"""


def main() -> None:
    """Write the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path)
    parser.add_argument("trained", type=Path)
    given = parser.parse_args()
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(given.start, HOME)
    weights = HOME / "transformer" / "diffusion_pytorch_model.safetensors"
    before, after = load_file(weights), load_file(given.trained)
    assert {name: one.shape for name, one in before.items()} == {
        name: one.shape for name, one in after.items()
    }
    save_file({name: one.bfloat16() for name, one in after.items()}, weights, {"format": "pt"})
    (HOME / "NOTICE").write_text(NOTICE, encoding="utf-8")
    total = sum(file.stat().st_size for file in HOME.rglob("*") if file.is_file())
    print(f"{HOME}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
