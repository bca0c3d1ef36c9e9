"""Which blocks are trained: the grammar, against sd-scripts itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.kohya.blocks import selected

GOLDEN = Path(__file__).parents[1] / "golden" / "sd_block_selection.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['selection']!r}/{case['total']}")
def test_a_selection_means_what_it_means_there(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ValueError, match=r".+"):
            selected(case["selection"], case["total"])
    else:
        assert list(selected(case["selection"], case["total"])) == case["selected"]
