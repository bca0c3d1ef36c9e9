"""What a command asks for and cannot have yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from scumble.dialects.kohya.job import converted
from scumble.dialects.kohya.present import without_encoders
from scumble.spec.adapter import LoraSpec
from tests.dialects.kohya_desk import laid_out


def test_the_guides_command_trains_the_transformer_and_says_that_clip_is_left_out(
    tmp_path: Path,
) -> None:
    wanted = ["--text_encoder_lr=1e-5", "--network_args", "loraplus_lr_ratio=4"]
    made = converted([*laid_out(tmp_path), *wanted], tmp_path)
    now = without_encoders(made)
    assert isinstance(made.job.adapter, LoraSpec) and isinstance(now.job.adapter, LoraSpec)
    assert made.job.adapter.parts == ("denoiser", "clip") and now.job.adapter.parts == ("denoiser",)
    assert made.job.training.rates == {"clip": 1e-5} and now.job.training.rates == {}
    assert now.job.adapter.up_rate in (4.0, {"denoiser": 4.0})
    (said,) = set(now.notes) - set(made.notes)
    assert said.about == "not yet" and "CLIP-L would be trained too" in said.text


@pytest.mark.parametrize(
    "words", [["--network_train_unet_only"], ["--network_train_text_encoder_only"]]
)
def test_a_command_for_one_network_alone_stays_as_it_is(tmp_path: Path, words: list[str]) -> None:
    made = converted([*laid_out(tmp_path), *words], tmp_path)
    assert without_encoders(made) is made
