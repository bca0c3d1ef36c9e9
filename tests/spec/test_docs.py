"""docs/job.md says what the job accepts."""

from __future__ import annotations

from pathlib import Path

from scumble.spec.explain import markdown, rows

PAGE = Path(__file__).parents[2] / "docs" / "job.md"


def test_the_page_about_the_job_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run scripts/make_docs.py"


def test_the_page_has_every_setting() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [row.path for row in rows() if f"`{row.path}`" not in page and not row.section]
    assert missing == []
