"""Write what of docs/ is made from the program; run it after a change in src/scumble/spec or in the
tables of src/scumble/dialects."""

from pathlib import Path

from scumble.dialects.kohya import page
from scumble.spec.explain import markdown

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write the pages and say where."""
    DOCS.mkdir(exist_ok=True)
    job, kohya = DOCS / "job.md", DOCS / "sd-scripts.md"
    job.write_text(markdown(), encoding="utf-8")
    kohya.write_text(page.filled(kohya.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"Wrote {job} and {kohya}")


if __name__ == "__main__":
    main()
