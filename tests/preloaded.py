"""What the process imports that the others of a test come from: all that they will need, watched as
in the tests themselves."""

from jaxtyping import install_import_hook

import scumble.cli.app  # typer gives commands values of its own: not watched

with install_import_hook("scumble", "beartype.beartype"):
    import scumble.run  # noqa: F401
    from scumble.hardware.imports import from_this_machine

import accelerate.utils  # noqa: F401
import einops  # noqa: F401
import pytest  # noqa: F401

with from_this_machine():
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer  # noqa: F401
