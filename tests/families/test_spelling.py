"""Names and rows of FLUX.1's published tensors, and ours: there and back."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scumble.families import spelling
from scumble.families.flux import files as flux_files
from scumble.families.flux import model as flux
from scumble.families.flux.keys import TRANSFORMER
from scumble.families.readings import readings
from scumble.families.sources import Sought, in_file
from scumble.families.tensor_files import header
from tests.families import loose
from tests.families.test_tensor_files import sparse

WIDTH = 3072
DOUBLE = {
    "{}_mod.lin": (6 * WIDTH, WIDTH),
    "{}_attn.qkv": (3 * WIDTH, WIDTH),
    "{}_attn.proj": (WIDTH, WIDTH),
    "{}_mlp.0": (4 * WIDTH, WIDTH),
    "{}_mlp.2": (WIDTH, 4 * WIDTH),
}
SINGLE = {
    "linear1": (7 * WIDTH, WIDTH),
    "linear2": (WIDTH, 5 * WIDTH),
    "modulation.lin": (3 * WIDTH, WIDTH),
}
ENDS = {
    "img_in": (WIDTH, 64),
    "txt_in": (WIDTH, 4096),
    "time_in.in_layer": (WIDTH, 256),
    "time_in.out_layer": (WIDTH, WIDTH),
    "vector_in.in_layer": (WIDTH, 768),
    "vector_in.out_layer": (WIDTH, WIDTH),
    "guidance_in.in_layer": (WIDTH, 256),
    "guidance_in.out_layer": (WIDTH, WIDTH),
    "final_layer.linear": (64, WIDTH),
    "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
}


def published(*, guided: bool = True, doubles: int = 19, singles: int = 38) -> dict[str, Tensor]:
    """Names and shapes of the tensors that Black Forest Labs published, written down by hand."""
    layers = {name: shape for name, shape in ENDS.items() if guided or "guidance" not in name}
    scales = []
    for block in range(doubles):
        for side in ("img", "txt"):
            start = f"double_blocks.{block}."
            layers |= {start + name.format(side): shape for name, shape in DOUBLE.items()}
            scales += [f"{start}{side}_attn.norm.{kind}_norm.scale" for kind in ("query", "key")]
    for block in range(singles):
        start = f"single_blocks.{block}."
        layers |= {start + name: shape for name, shape in SINGLE.items()}
        scales += [f"{start}norm.{kind}_norm.scale" for kind in ("query", "key")]
    made = {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in layers.items()}
    made |= {f"{name}.bias": torch.empty(rows, device="meta") for name, (rows, _) in layers.items()}
    return made | {name: torch.empty(128, device="meta") for name in scales}


def ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cut as files are read."""
    cuts = spelling.cutter(TRANSFORMER)({k: tuple(one.shape) for k, one in theirs.items()})
    return {
        cut.name: torch.cat([theirs[name][start:end] for start, end in cut.spans])
        for name, several in cuts.items()
        for cut in several
    }


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("guided", "count"), [(True, 780), (False, 776)])
def test_the_real_key_lists_go_there_and_back(guided: bool, count: int) -> None:
    theirs = published(guided=guided)
    assert len(theirs) == count
    module = flux.skeleton("denoiser", {**flux_files.DENOISER, "guidance_embeds": guided})
    mine = dict(module.state_dict())
    assert shapes(ours(theirs)) == shapes(mine)
    assert shapes(spelling.fused(mine, TRANSFORMER)) == shapes(theirs)
    config = flux_files.denoiser_sizes(shapes(mine))
    assert {**flux_files.DENOISER, **config} == {**flux_files.DENOISER, "guidance_embeds": guided}


def narrow() -> dict[str, Tensor]:
    """All rows of one block of each kind, each with numbers of its own; columns are few."""
    random = torch.manual_seed(0)
    return {
        name: torch.randn(one.shape[0], *(2 for _ in one.shape[1:]), generator=random)
        for name, one in published(doubles=1, singles=1).items()
    }


def test_rows_go_there_and_back_unchanged() -> None:
    theirs = narrow()
    mine = ours(theirs)
    back = spelling.fused(mine, TRANSFORMER)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
    again = ours(back)
    assert again.keys() == mine.keys()
    assert all(torch.equal(again[name], mine[name]) for name in mine)


def test_rows_lie_where_diffusers_puts_them() -> None:
    from diffusers.loaders import single_file_utils

    theirs = narrow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(dict(theirs))
    mine = ours(theirs)
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_the_autoencoder_is_named_as_diffusers_names_it(tmp_path: Path) -> None:
    from diffusers.loaders import single_file_utils

    folder = loose.folder(tmp_path / "model")
    theirs = loose.published(folder, "autoencoder")
    assert "decoder.up.0.block.0.norm1.weight" in theirs
    assert theirs["encoder.mid.attn_1.q.weight"].shape == (64, 64, 1, 1)
    config = {**flux_files.AUTOENCODER, **loose.SIZES["autoencoder"]}
    wanted = single_file_utils.convert_ldm_vae_checkpoint(dict(theirs), config)
    cuts = flux_files.autoencoder_cuts(shapes(theirs))
    named = {cut.name: theirs[name] for name, several in cuts.items() for cut in several}
    assert named.keys() == wanted.keys()
    assert all(torch.equal(one.flatten(), wanted[name].flatten()) for name, one in named.items())


def test_a_fused_layer_that_lacks_a_part_cannot_be_put_together() -> None:
    mine = ours(narrow())
    del mine["transformer_blocks.0.attn.to_k.weight"]
    with pytest.raises(ValueError, match=r"without transformer_blocks\.0\.attn\.to_k\.weight"):
        spelling.fused(mine, TRANSFORMER)
    with pytest.raises(ValueError, match=r"no tensor for 'somewhere\.else'"):
        spelling.fused({"somewhere.else": torch.zeros(1)}, TRANSFORMER)


def test_rows_that_cannot_be_shared_out_are_named() -> None:
    theirs = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(10, 2)}
    with pytest.raises(ValueError, match=re.escape("img_attn.qkv.weight has 10 rows")):
        ours(theirs)


@pytest.mark.skipif(sys.platform == "win32", reason="there, empty room is taken room")
@pytest.mark.parametrize(("guided", "flavour"), [(True, "dev"), (False, "schnell")])
def test_a_file_of_the_real_size_is_read_up_to_its_weights(
    tmp_path: Path, guided: bool, flavour: str
) -> None:
    """24 GB that take no room on the disk."""
    file = sparse(tmp_path / f"flux1-{flavour}.safetensors", {"guidance_embeds": guided})
    assert len(header(file)) == (780 if guided else 776)
    family = {"dev": flux.FLUX_DEV, "schnell": flux.FLUX_SCHNELL}[flavour]
    source = in_file(Sought(family, "denoiser"), file)
    assert source.config == {**flux_files.DENOISER, "guidance_embeds": guided}
    found = readings(family.parts["denoiser"], source.files, "")
    wanted = flux.skeleton("denoiser", source.config).state_dict()
    assert {name: one.shape for name, one in found.items()} == shapes(dict(wanted))
