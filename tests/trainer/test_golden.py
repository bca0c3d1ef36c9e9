"""Five losses per toy family at a fixed seed. A change that is not about numbers may not move them.

Made by this test's own run in November 2026 (torch 2.13.0, CPU, fp32, one thread).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.toys import journal, trained

GOLDEN = json.loads((Path(__file__).parent.parent / "golden/toy_losses.json").read_text())
PATHS = {"dev": "builtin:tiny-flux", "schnell": "builtin:tiny-flux-schnell"}


@pytest.mark.parametrize("flavour", PATHS)
def test_five_losses_stand_where_they_stood(tmp_path: Path, flavour: str) -> None:
    changes = {"model__flavour": flavour, "model__path": PATHS[flavour], "training__steps": 5}
    trained(tmp_path, saving__every=0, **changes)
    found = [record["loss"] for record in journal(tmp_path, "StepDone")]
    assert found == pytest.approx(GOLDEN[flavour], rel=1e-4)
