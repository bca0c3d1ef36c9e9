"""Padding of a text that is hidden from T5 and from the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from scumble import families
from scumble.assembly import source
from scumble.caching import encoded
from scumble.cli.app import main
from scumble.cli.cache import cache as commands
from scumble.data import cache
from scumble.data.saying import Saying
from scumble.families import encoding, weights
from scumble.families.builtin import write_tiny_flux
from scumble.families.encoders import t5
from scumble.families.family import TEXT_MASK, Entry, Family, Knobs, Scene, Told, stacked
from scumble.families.reader import Reader
from scumble.hardware.blocks import Net, plain, recomputed
from scumble.hardware.device import Place
from scumble.preflight.plan import prepared
from scumble.sample import Sampling, Studio, sampled
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.saving import CacheSpec
from scumble.spec.validation import ValidationSpec
from scumble.trainer.feeder import Fed
from scumble.validation import previews
from tests.toys import checkpoint, job, journal, opened, trained

CPU = torch.device("cpu")
PLACE = Place(CPU, torch.float32)
TOKENS = 24
TEXTS = ("a cat", "", "a red apple on a table", "one two three four five six seven eight nine ten")
MODEL = {"family": "flux", "flavour": "dev", "path": "builtin:tiny-flux", "text_tokens": 24}
MASKED = {**MODEL, "text_mask": True}
PREVIEW = {
    "every": 2,
    "prompts": ["a cat"],
    "width": 32,
    "height": 32,
    "steps": 2,
    "seed": 3,
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> weights.Model:
    """A toy of FLUX dev with its padding hidden."""
    folder = tmp_path_factory.mktemp("toy")
    write_tiny_flux(folder, {})
    return replace(opened(families.find("flux", "dev"), folder), masked=True)


def loaded(model: weights.Model, part: str) -> Any:
    return weights.loaded(model, part, dtype=torch.float32, device=CPU)


def entries(model: weights.Model, texts: Sequence[str] = TEXTS) -> list[Entry]:
    return list(Reader(model, PLACE, TOKENS, "fp32").entries([Saying(text) for text in texts]))


def told(family: Family, texts: Sequence[Entry], references: Sequence[Tensor] = ()) -> Told:
    scene = Scene(frames=torch.zeros(len(texts), 8, dtype=torch.int64))
    there = Told(values=stacked(texts), references=tuple(references))
    return family.tell(there, scene, Knobs(guidance=3.5))


def without_padding(entry: Entry) -> Entry:
    """The same text as long as it is, with no mask."""
    words = entry[TEXT_MASK].bool()
    return {"text": entry["text"][words], "summary": entry["summary"]}


def pixels(count: int, *size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, *size, generator=torch.Generator().manual_seed(seed))


def made(**changes: Any) -> dict[str, Any]:
    return {"adapter__kind": "lora", "model": MASKED, **changes}


def test_t5_reads_masked_words_as_it_reads_them_alone(toy: weights.Model) -> None:
    module, tool = loaded(toy, "t5"), weights.tools(toy)["t5"]
    ids = torch.stack([t5.words(tool, text, TOKENS) for text in TEXTS])
    mask = torch.stack([t5.mask(tool, text, TOKENS) for text in TEXTS])
    lengths = mask.sum(1).tolist()
    assert lengths == [min(TOKENS, len(tool(text)["input_ids"])) for text in TEXTS]
    assert lengths[1] == 1 and max(lengths) == TOKENS, "an end mark alone, and a text that is cut"
    with torch.no_grad():
        found, unmasked = t5.read(module, ids, mask), t5.read(module, ids)
        published = module(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        for row, length in enumerate(lengths):
            alone = t5.read(module, ids[row : row + 1, :length])[0]
            torch.testing.assert_close(found[row, :length], alone, atol=1e-5, rtol=0)
            assert torch.equal(found[row, :length], published[row, :length])
    assert (unmasked[0, : lengths[0]] - found[0, : lengths[0]]).abs().max() > 1e-3


def test_an_entry_says_which_of_its_tokens_are_words_only_where_padding_is_hidden(
    toy: weights.Model,
) -> None:
    hidden, shown = entries(toy), entries(replace(toy, masked=False))
    assert [one.keys() for one in shown] == [{"text", "summary"}] * len(TEXTS)
    for one, other in zip(hidden, shown, strict=True):
        assert list(one) == ["text", "summary", TEXT_MASK]
        assert one[TEXT_MASK].dtype == torch.uint8 and one[TEXT_MASK].shape == (TOKENS,)
        assert torch.equal(one["summary"], other["summary"]), "CLIP's padding is never hidden"


@pytest.mark.parametrize("flavour", ["dev", "kontext"])
def test_hidden_padding_is_as_no_padding(toy: weights.Model, flavour: str) -> None:
    family, texts = families.find("flux", flavour), entries(toy)
    references = [pixels(1, 4, 6, seed=1), pixels(1, 6, 4, seed=2)] if flavour == "kontext" else []
    net, times = Net(loaded(toy, "denoiser"), plain), torch.tensor([0.3])
    noisy = pixels(1, 8, 6)
    with torch.no_grad():
        for entry in texts:
            found = family.predict(net, noisy, times, told(family, [entry], references))
            alone = told(family, [without_padding(entry)], references)
            wanted = family.predict(net, noisy, times, alone)
            assert (found - wanted).abs().max() < 1e-5
        bare = {name: one for name, one in texts[0].items() if name != TEXT_MASK}
        seen = family.predict(net, noisy, times, told(family, [bare], references))
        found = family.predict(net, noisy, times, told(family, texts[:1], references))
    assert (seen - found).abs().max() > 1e-3


def test_each_text_of_a_batch_hides_its_own_padding(toy: weights.Model) -> None:
    family, texts = toy.family, entries(toy)
    net, count = Net(loaded(toy, "denoiser"), plain), len(TEXTS)
    noisy, times = pixels(count, 8, 4), torch.linspace(0.1, 0.9, count)
    with torch.no_grad():
        found = family.predict(net, noisy, times, told(family, texts))
        for row, entry in enumerate(texts):
            alone = told(family, [without_padding(entry)])
            one = family.predict(net, noisy[row, None], times[row, None], alone)
            assert (found[row] - one[0]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["double", "single"])
def test_no_block_of_either_kind_sees_padding(toy: weights.Model, kind: str) -> None:
    """With the other kind's blocks taken out, what padding holds has no effect."""
    family, module = toy.family, loaded(toy, "denoiser")
    (entry,) = entries(toy, ["a cat"])
    lost = {"double": "single_transformer_blocks", "single": "transformer_blocks"}[kind]
    setattr(module, lost, torch.nn.ModuleList())
    if kind == "single":
        module.config = replace(module.config, num_layers=0)
    else:
        module.config = replace(module.config, num_single_layers=0)
    net, times = Net(module, plain), torch.tensor([0.4])
    noise = torch.randn(entry["text"].shape, generator=torch.Generator().manual_seed(5))
    padding = (1 - entry[TEXT_MASK].float())[:, None]
    other = {**entry, "text": entry["text"] + 9 * noise * padding}
    bare = [{n: one[n] for n in ("text", "summary")} for one in (entry, other)]
    with torch.no_grad():
        hidden = [
            family.predict(net, pixels(1, 4, 4), times, told(family, [x])) for x in (entry, other)
        ]
        shown = [family.predict(net, pixels(1, 4, 4), times, told(family, [x])) for x in bare]
    assert torch.equal(*hidden)
    assert (shown[0] - shown[1]).abs().max() > 1e-3


class Attentions(TorchDispatchMode):
    """What the attention kernels are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func)
        if "attention" in name or "softmax" in name:
            mask = [one for one in (*args[3:], *(kwargs or {}).values()) if isinstance(one, Tensor)]
            self.names.append(f"{name} {len(mask)}")
        return func(*args, **(kwargs or {}))


def test_without_a_mask_attention_takes_the_way_it_took(toy: weights.Model) -> None:
    family, texts = toy.family, entries(replace(toy, masked=False))[:1]
    net = Net(loaded(toy, "denoiser"), plain)
    with torch.no_grad(), Attentions() as heard:
        family.predict(net, pixels(1, 4, 4), torch.tensor([0.5]), told(family, texts))
    assert heard.names and {one.rsplit(" ", 1)[1] for one in heard.names} == {"0"}


def test_blocks_computed_again_give_the_same_gradients(toy: weights.Model) -> None:
    family, module, there = toy.family, loaded(toy, "denoiser"), told(toy.family, entries(toy))
    grads = []
    for run in (plain, recomputed):
        noisy = pixels(len(TEXTS), 4, 4).requires_grad_()
        times = torch.full((len(TEXTS),), 0.5)
        family.predict(Net(module, run), noisy, times, there).square().sum().backward()
        assert noisy.grad is not None
        grads.append(noisy.grad)
    assert grads[0].isfinite().all() and torch.equal(grads[0], grads[1])


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", "fp8"])
def test_a_kept_entry_brings_its_mask_and_takes_the_room_that_was_told(
    toy: weights.Model, tmp_path: Path, dtype: str
) -> None:
    kept = CacheSpec.model_validate({"text_dtype": dtype})
    store = cache.Store(tmp_path / "texts", "text", torch.float32)
    wanted = [(bytes([number]) * 16, Saying(text)) for number, text in enumerate(TEXTS)]
    make = partial(Reader, toy, PLACE, TOKENS, dtype)
    list(encoding.encode_texts(make, store, wanted))
    for (key, _), entry in zip(wanted, entries(toy), strict=True):
        assert torch.equal(store.read(key)[TEXT_MASK], entry[TEXT_MASK])
    store.close()
    (shard,) = (tmp_path / "texts").iterdir()
    foretold = len(TEXTS) * encoding.text_bytes(toy, PLACE, TOKENS, kept)
    assert 0 <= shard.stat().st_size - 4096 - foretold <= 16


def test_texts_have_other_keys_and_pictures_the_same(toy: weights.Model) -> None:
    kept = CacheSpec()
    hidden = encoding.recipes(toy, PLACE, TOKENS, kept, read=True)
    shown = encoding.recipes(replace(toy, masked=False), PLACE, TOKENS, kept, read=True)
    assert hidden and shown and hidden.picture == shown.picture and hidden.text != shown.text
    assert dict(hidden.texts) == {**shown.texts, "padding": "hidden"}


def test_the_cache_explains_what_is_to_be_read_again(tmp_path: Path) -> None:
    told = job(tmp_path, model=MODEL).model_dump(mode="json")
    told["data"] = [one | {"caption_dropout": 0} for one in told["data"][:1]]
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(told))

    def typed(*words: object) -> str:
        result = CliRunner().invoke(commands, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output

    typed("build", file)
    assert "to be made" not in typed("explain", file, "p01")
    said = typed("explain", file, "p01", "model.text_mask=true").splitlines()
    (reason,) = (line for line in said if "to be made" in line)
    assert reason.endswith("to be made; padding: none -> hidden")


def first(root: Path, **changes: Any) -> Fed:
    plan = prepared(job(root, **made(**changes)), root)
    with encoded(plan, lambda event: None) as library:
        return next(source(plan, library).step(1))


@pytest.mark.parametrize("kept", [{}, {"mode": "on_demand"}, {"texts": "on_demand"}], ids=str)
def test_a_run_tells_its_network_the_mask_wherever_texts_come_from(
    tmp_path: Path, kept: dict[str, Any]
) -> None:
    batch = first(tmp_path, cache=kept).batch
    mask = batch.words[TEXT_MASK]
    assert mask.shape == (len(batch.ids), TOKENS) and mask.dtype == torch.uint8
    tool = weights.tools(opened(families.find("flux", "dev"), "builtin:tiny-flux"))["t5"]
    assert mask.sum(1).tolist() == [min(24, len(tool(x)["input_ids"])) for x in batch.captions]


def test_a_job_learns_otherwise_with_it_and_the_same_with_recomputing(tmp_path: Path) -> None:
    recomputing = {"hardware__gradient_checkpointing": True}
    runs = {"plain": {}, "again": recomputing, "seen": {"model": MODEL}}
    for name, changes in runs.items():
        trained(tmp_path, **made(name=name, training__steps=2, **changes))
    plainly, again, seen = (checkpoint(tmp_path, 2, name) for name in runs)
    assert all(torch.equal(one, again[key]) for key, one in plainly.items())
    assert any(not torch.equal(one, seen[key]) for key, one in plainly.items())


def test_a_run_measures_and_paints_with_it_and_inference_paints_the_same(tmp_path: Path) -> None:
    data = [{"id": "square", "folder": "square", "resolution": 32, "held_out": 0.4}]
    validation = {**PREVIEW, "held_out": {"times": [0.2, 0.7]}}
    export = {"proof": "in_process", "dtype": "float32"}
    trained(tmp_path, **made(training__steps=2, validation=validation, data=data, export=export))
    assert journal(tmp_path, "Measured")
    (proven,) = journal(tmp_path, "Proven")
    assert "failed" not in {one["state"] for one in proven["verdicts"]}
    (preview,) = (tmp_path / "out/toy/samples/step-000002").glob("*.png")
    adapter = tmp_path / "out/toy/toy.safetensors"
    for mask in (True, False):
        (picture,) = sampled(asked(tmp_path, mask=mask, adapter=adapter))
        assert (levels(picture, preview) <= 1) == mask, levels(picture, preview)


def test_a_resume_with_the_flag_changed_names_it(tmp_path: Path) -> None:
    trained(tmp_path, **made(model=MODEL, training__steps=2))
    plan = prepared(job(tmp_path, **made(training__steps=6)), tmp_path)
    assert any("model.text_mask" in one for one in plan.changed), plan.changed


def levels(one: Path, other: Path) -> float:
    """How far pictures are apart at most, in levels of 255."""
    first, second = (np.asarray(Image.open(file), np.float32) for file in (one, other))
    return float(np.abs(first - second).max())


def asked(root: Path, *, mask: bool, adapter: Path | None = None, scale: float = 1.0) -> Sampling:
    led = {"negative": "blue", "scale": scale} if scale != 1 else {}
    return Sampling(
        model=ModelSpec.model_validate({**MODEL, "text_mask": mask}),
        hardware=HardwareSpec.model_validate({"device": "cpu", "precision": "fp32"}),
        validation=ValidationSpec.model_validate({**PREVIEW, **led}),
        adapter=adapter,
        strength=1.0,
        out=root / f"pictures-{mask}",
        base=root,
    )


def test_pictures_led_away_from_a_text_hide_it_too_and_say_so(tmp_path: Path) -> None:
    hidden, shown = (next(sampled(asked(tmp_path, mask=one, scale=2.0))) for one in (True, False))
    assert levels(hidden, shown) > 1
    said = [
        json.loads(one.with_suffix(".json").read_text())["text_mask"] for one in (hidden, shown)
    ]
    assert said == [True, False]
    studio = Studio(asked(tmp_path, mask=True), stays=True)
    led = replace(request(studio), negative="blue", scale=2.0)
    again = studio.paint(led, tmp_path / "again.png")
    assert levels(again, hidden) <= 1


def request(studio: Studio) -> previews.Request:
    (one,) = previews.requests(studio.asked.validation, studio.family)
    return one


@pytest.mark.acceptance
def test_a_fresh_process_proves_it_and_the_pipeline_is_compared_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = {"proof": "fresh_process", "dtype": "float32"}
    assert trained(tmp_path, **made(validation=PREVIEW, export=export)).code == 0
    run = tmp_path / "out/toy"
    question = ("--run", run, "--against", "diffusers")
    code = main(["adapter", "verify", "--json", str(run / "toy.safetensors"), *map(str, question)])
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    states = {one["name"]: one["state"] for one in row["verdicts"]}
    assert code == 0 and states["picture"] == states["pipeline picture"] == "ok"
    assert states["pipeline text"] == "remark"
