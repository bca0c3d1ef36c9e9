"""Train the autoencoder of `builtin:emoji-flux`: 64 px pictures, eight times smaller, 16 channels.

`python scripts/emoji_flux/autoencoder.py DATA OUT --hours 1` trains, or goes on where it was
stopped, and says how well held-out pictures come back. DATA is what `make_emoji_sets.py --set base`
wrote; OUT gets state.safetensors (weights and Adam's moments), log.jsonl, and at the end a
diffusers folder `vae`. Flips and shifts by a few pixels are the only augmentation.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [32, 64, 96, 128],
    "layers_per_block": 1,
    "latent_channels": 16,
    "norm_num_groups": 16,
    "sample_size": 64,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
RATE, BATCH, WARM_UP = 1.5e-3, 16, 100
NOISE = 0.03  # of the latents' spread; a decoder that bears it bears a denoiser's small errors
SHIFT = 4  # pixels
EVERY = 250  # steps between two looks at the held-out pictures, and two saves


def pictures(folder: Path) -> Tensor:
    """All pictures below a folder, uint8 [count, 3, height, width], by path."""
    files = sorted(folder.rglob("*.png"))
    found = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return torch.from_numpy(found).permute(0, 3, 1, 2).contiguous()


def as_pixels(found: Tensor) -> Tensor:
    """float32 in [-1, 1]."""
    return found.float() / 127.5 - 1.0


def drawn(found: Tensor, step: int) -> Tensor:
    """The batch of a step: chosen, mirrored and moved by a generator of its own."""
    draw = np.random.Generator(np.random.Philox(key=[20, step]))
    batch = found[torch.from_numpy(draw.integers(len(found), size=BATCH))]
    batch = torch.where(
        torch.from_numpy(draw.random(BATCH) < 0.5).view(-1, 1, 1, 1), batch, batch.flip(3)
    )
    across, down = draw.integers(-SHIFT, SHIFT + 1, size=(2, BATCH))
    moved = [
        one.roll((int(a), int(d)), (2, 1)) for one, a, d in zip(batch, across, down, strict=True)
    ]
    return as_pixels(torch.stack(moved)).contiguous(memory_format=torch.channels_last)


def built() -> AutoencoderKL:
    """With first weights from a seed, and no spread around the middle of a latent."""
    torch.manual_seed(0)
    made = AutoencoderKL.from_config(CONFIG)
    assert isinstance(made, AutoencoderKL)
    with torch.no_grad():
        made.encoder.conv_out.weight[16:] = 0.0
        made.encoder.conv_out.bias[16:] = -30.0
    return made.to(memory_format=torch.channels_last)


def middle(model: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The latents of pixels."""
    return model.encoder(pixels)[:, :16]


def psnr(model: AutoencoderKL, held: Tensor) -> float:
    """Mean over pictures, in dB against the range of eight bits, after rounding to them."""
    found: list[Tensor] = []
    with torch.no_grad():
        for part in held.split(64):
            back = model.decoder(middle(model, as_pixels(part)))
            rounded = ((back + 1.0) * 127.5).round().clamp(0, 255)
            error = (rounded - part.float()).square().mean((1, 2, 3)).clamp(min=1e-6)
            found.append(10.0 * (255.0**2 / error).log10())
    return float(torch.cat(found).mean())


def rate(step: int, steps: int) -> float:
    """Warm-up, then half a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))


def loss_of(model: AutoencoderKL, pixels: Tensor, step: int) -> Tensor:
    """Root of the mean square error of each picture, and a leash on the size of latents."""
    latents = middle(model, pixels)
    made = torch.Generator().manual_seed(step)
    noise = torch.randn(latents.shape, generator=made) * latents.detach().std() * NOISE
    back = model.decoder(latents + noise)
    error = (back - pixels).square().mean((1, 2, 3)).add(1e-5).sqrt().mean()
    return error + 1e-4 * latents.square().mean()


def save(out: Path, model: AutoencoderKL, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Whole or not at all."""
    state = {f"weight.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for what, value in optimizer.state[parameter].items():
            state[f"{what}.{name}"] = value.contiguous()
    save_file(state, out / "partial.safetensors", {"step": str(step)})
    (out / "partial.safetensors").rename(out / "state.safetensors")
    (out / "state.json").write_text(json.dumps({"step": step}))


def restored(out: Path, model: AutoencoderKL, optimizer: torch.optim.Optimizer) -> int:
    """The step to go on from."""
    if not (out / "state.safetensors").exists():
        return 0
    state = load_file(out / "state.safetensors")
    model.load_state_dict(
        {name[7:]: value for name, value in state.items() if name.startswith("weight.")}
    )
    for name, parameter in model.named_parameters():
        if f"exp_avg.{name}" in state:
            optimizer.state[parameter] = {
                what: state[f"{what}.{name}"] for what in ("step", "exp_avg", "exp_avg_sq")
            }
    return int(json.loads((out / "state.json").read_text())["step"])


def finish(out: Path, model: AutoencoderKL, seen: Tensor) -> None:
    """The diffusers folder, with the shift and scale that make latents of mean 0 and spread 1."""
    with torch.no_grad():
        parts = [middle(model, as_pixels(part)) for part in seen[::4].split(64)]
    latents = torch.cat(parts)
    model.register_to_config(
        shift_factor=float(latents.mean()), scaling_factor=float(1.0 / latents.std())
    )
    model.to(memory_format=torch.contiguous_format).to(torch.bfloat16).save_pretrained(out / "vae")


def main() -> None:
    """Train until the time or the steps are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--hours", type=float, default=2.5)
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    seen, held = pictures(given.data / "seen"), pictures(given.data / "held-out")
    model = built()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    step, began = restored(out, model, optimizer), time.monotonic()
    while step < given.steps and time.monotonic() - began < 3600 * given.hours:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, given.steps)
        loss = loss_of(model, drawn(seen, step), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % EVERY == 0 or step == given.steps:
            told = {"step": step, "loss": float(loss), "held_out_psnr": psnr(model, held)}
            told["seconds"] = round(time.monotonic() - began, 1)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(told) + "\n")
            print(told, flush=True)
            save(out, model, optimizer, step)
    if step == given.steps:
        finish(out, model, seen)


if __name__ == "__main__":
    main()
