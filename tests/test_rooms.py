"""What the import contract cannot say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = sorted(Path("src/scumble").rglob("*.py"))


@pytest.mark.parametrize(
    "modules",
    [
        "scumble.cli.app, scumble.cli.jobs, scumble.spec.load, scumble.families",
        "scumble.data.shards, scumble.data.index, scumble.data.order, scumble.data.scan",
        "scumble.checkpoint.store, scumble.observers.report, scumble.observers.console",
    ],
)
def test_what_needs_no_torch_does_not_import_it(modules: str) -> None:
    code = f"import {modules}, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_warm_start_imports_neither_diffusers_nor_transformers() -> None:
    code = "import scumble.run, sys; print({'diffusers', 'transformers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_nobody_outside_asks_for_a_familys_name() -> None:
    asking = re.compile(r"(family|flavour)(\.name)? ==|isinstance\(.*Family")
    outside = [path for path in SOURCE if "families" not in path.parts]
    found = [str(path) for path in outside if asking.search(path.read_text())]
    assert found == []


def test_broad_excepts_stand_where_they_may() -> None:
    """Around one observer, one picture, one foreign library, and where a thread or a process hands
    its error over."""
    broad = re.compile(r"except (Base)?Exception\b(?! as group)")
    found = {str(p.relative_to("src/scumble")) for p in SOURCE if broad.search(p.read_text())}
    allowed = {"run.py", "trainer/feeder.py", "checkpoint/store.py"}
    allowed |= {"hardware/parallel.py", "trainer/loop.py"}
    pictures = {f"data/{name}.py" for name in ("images/headers", "images/viewing", "pairs/turns")}
    foreign = {"trainer/optimizers.py", "validation/pipelines.py", "observers/services.py"}
    assert found <= allowed | pictures | foreign | {"cli/doctor.py"}, found - allowed


def test_torchvision_is_never_imported() -> None:
    assert [str(p) for p in SOURCE if re.search(r"(import|from) torchvision", p.read_text())] == []


def test_loading_an_autoencoder_asks_for_no_kernels_and_says_nothing() -> None:
    code = (
        "import logging, sys; logging.basicConfig()\n"
        "class Asked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'kernels': print('asked for', name)\n"
        "sys.meta_path.insert(0, Asked())\n"
        "from scumble.families.builtin import AUTOENCODER\n"
        "from scumble.families.encoders import vae; vae.skeleton(AUTOENCODER)\n"
        "print('kernels' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and "gemm_4bit" not in done.stderr
