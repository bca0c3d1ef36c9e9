"""Put `builtin:emoji-kontext` into the package, from the folder it was started in and the result.

`python scripts/emoji_kontext/finish.py START TRAINED` takes the transformer's weights from the
file that the run delivered, in bf16, and what says which pipeline it is from START (start.py). All
other parts are those of `builtin:emoji-flux`.
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

FAMILIES = Path(__file__).parents[2] / "src" / "scumble" / "families"
HOME = FAMILIES / "emoji_kontext"
WEIGHTS = Path("transformer", "diffusion_pytorch_model.safetensors")
KEPT = ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json")
NOTICE = (
    "The weights in this folder were trained further from those of builtin:emoji-flux, on edited\n"
    "pictures of the same sources (docs/builtin-models.md), of which its notice says:\n\n"
)


def main() -> None:
    """Write the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path)
    parser.add_argument("trained", type=Path)
    given = parser.parse_args()
    shutil.rmtree(HOME, ignore_errors=True)
    for name in KEPT:
        (HOME / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given.start / name, HOME / name)
    before, after = load_file(given.start / WEIGHTS), load_file(given.trained)
    assert {name: one.shape for name, one in before.items()} == {
        name: one.shape for name, one in after.items()
    }
    rounded = {name: one.bfloat16() for name, one in after.items()}
    save_file(rounded, HOME / WEIGHTS, {"format": "pt"})
    notice = (FAMILIES / "emoji_flux" / "NOTICE").read_text(encoding="utf-8")
    (HOME / "NOTICE").write_text(NOTICE + notice, encoding="utf-8")
    total = sum(file.stat().st_size for file in HOME.rglob("*") if file.is_file())
    print(f"{HOME}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
