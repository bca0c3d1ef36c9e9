"""Write docs/job.md from the settings themselves; run it after a change in src/scumble/spec."""

from pathlib import Path

from scumble.spec.explain import markdown

PAGE = Path(__file__).parents[1] / "docs" / "job.md"


def main() -> None:
    """Write the page and say where."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(markdown(), encoding="utf-8")
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
