"""Write what of docs/ is made from the program; run it after a change in src/scumble/spec or in the
tables of src/scumble/dialects."""

from pathlib import Path

from scumble.dialects.kohya import page as kohya
from scumble.dialects.simpletuner import page as simpletuner
from scumble.hardware.quantisers import table
from scumble.spec.explain import markdown

DOCS = Path(__file__).parents[1] / "docs"
FILLED = {
    "sd-scripts.md": kohya.filled,
    "simpletuner.md": simpletuner.filled,
    "quantised.md": table.filled,
}
"""Pages with tables between two marks."""


def main() -> None:
    """Write the pages and say where."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "job.md").write_text(markdown(), encoding="utf-8")
    for name, filled in FILLED.items():
        page = DOCS / name
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"Wrote job.md, {', '.join(FILLED)} in {DOCS}")


if __name__ == "__main__":
    main()
