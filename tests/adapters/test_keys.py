"""The tables of names, against the real network and both ways."""

from __future__ import annotations

import pytest

from scumble.adapters.keys import JOINTS
from scumble.families.flux.keys import KEYS, TRANSFORMER
from tests.adapters import flux_toys


def test_every_layer_of_flux_has_a_name_of_its_authors_and_comes_back() -> None:
    spots = {}
    for layer in flux_toys.linears():
        spot, place = TRANSFORMER.by_ours(layer) or pytest.fail(layer)
        assert spot.ours[place] == layer
        assert TRANSFORMER.by_theirs(spot.theirs) == spot
        spots.setdefault(spot.theirs, []).append(layer)
    assert all(len(layers) in (1, 3, 4) for layers in spots.values())
    assert len(spots) == 19 * 10 + 38 * 3 + 10
    assert sum(map(len, spots.values())) == len(flux_toys.linears())


def test_layers_and_other_tensors_are_the_780_that_were_published() -> None:
    layers = {TRANSFORMER.by_ours(layer)[0].theirs for layer in flux_toys.linears()}  # type: ignore[index]
    norms = [
        theirs for theirs, _ in TRANSFORMER.tensors for _ in range(19 + 19 * ("single" in theirs))
    ]
    assert 2 * len(layers) + len(norms) == 780
    ours = {
        name
        for name in flux_toys.network().state_dict()
        if "norm_" in name and "norm_out" not in name
    }
    named = {
        name.format(number) for _, name in TRANSFORMER.tensors for number in range(38)
    } & flux_toys.network().state_dict().keys()
    assert named == ours and len(ours) == len(norms)


@pytest.mark.parametrize("joint", JOINTS)
def test_names_are_told_apart_whatever_stands_between_their_words(joint: str) -> None:
    for part, layers in (
        ("denoiser", flux_toys.linears()),
        ("clip", flux_toys.clip()),
        ("t5", flux_toys.t5()),
    ):
        for layer in layers:
            spot, place = (
                KEYS[part].by_ours(layer.replace(".", joint), joint=joint) or pytest.fail()
            )
            assert spot.ours[place] == layer
            assert KEYS[part].by_theirs(spot.theirs.replace(".", joint), joint=joint) == spot


@pytest.mark.parametrize(
    "name",
    [
        "transformer_blocks.0.attn.to_x",
        "transformer_blocks.0x.attn.to_q",
        "transformer_blocks.00.attn.to_q",
        "transformer_blocks.\N{ARABIC-INDIC DIGIT ONE}.attn.to_q",
        "x.transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attnxto_q",
        "transformer_blocks..attn.to_q",
        "",
    ],
)
def test_a_name_that_is_nearly_right_is_wrong(name: str) -> None:
    assert TRANSFORMER.by_ours(name) is None
    assert TRANSFORMER.by_theirs(name) is None
