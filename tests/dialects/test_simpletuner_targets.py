"""`flux_lora_target`: each set finds the layers of FLUX that it is known for."""

from __future__ import annotations

import pytest
from torch import nn

from scumble.adapters.attach import chosen
from scumble.dialects.simpletuner.adapting import FLUX_TARGETS, QUERIES
from scumble.families.flux.model import skeleton

DOUBLE, SINGLE = 2, 21
ATTENTION = 8 * DOUBLE + 3 * SINGLE
FORWARD = 4 * DOUBLE + 2 * SINGLE + 1  # the last one is the way out of the whole network

COUNTS = {
    "all": ATTENTION,
    "mmdit": 4 * DOUBLE + 3 * SINGLE,
    "context": 4 * DOUBLE,
    "context+ffs": 6 * DOUBLE,
    "all+ffs": ATTENTION + FORWARD,
    "all+ffs+embedder": ATTENTION + FORWARD + 1,
    "all+ffs+embedder+controlnet": 4 * DOUBLE + 3 * SINGLE,
    "ai-toolkit": ATTENTION + FORWARD + 2 * DOUBLE + SINGLE,
    "tiny": 2,
    "nano": 1,
}


@pytest.fixture(scope="module")
def flux() -> nn.Module:
    """FLUX with few blocks, but with those that `tiny` names."""
    return skeleton("denoiser", {"num_layers": DOUBLE, "num_single_layers": SINGLE})


@pytest.mark.parametrize("name", COUNTS)
def test_a_set_finds_its_layers(name: str, flux: nn.Module) -> None:
    assert len(chosen(flux, FLUX_TARGETS[name], {})) == COUNTS[name]


def test_the_smallest_sets_are_the_ways_out_of_two_blocks(flux: nn.Module) -> None:
    found = set(chosen(flux, FLUX_TARGETS["tiny"], {}))
    assert found == {f"single_transformer_blocks.{number}.proj_out" for number in (7, 20)}
    assert set(chosen(flux, FLUX_TARGETS["nano"], {})) < found


def test_modulation_is_part_of_one_set_alone(flux: nn.Module) -> None:
    more = chosen(flux, FLUX_TARGETS["ai-toolkit"], {}).keys()
    beyond = more - chosen(flux, FLUX_TARGETS["all+ffs"], {}).keys()
    assert {name.split(".")[-2] for name in beyond} == {"norm", "norm1", "norm1_context"}


def test_every_set_is_counted() -> None:
    assert COUNTS.keys() == FLUX_TARGETS.keys()
    assert QUERIES == ("to_k", "to_q", "to_v", "to_out.0")
