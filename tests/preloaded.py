"""What the process imports that the others of a test come from: all that they will need, watched as
in the tests themselves."""

from jaxtyping import install_import_hook

with install_import_hook("scumble", "beartype.beartype"):
    import scumble.adapters.attach
    import scumble.cli.app
    import scumble.run  # noqa: F401

import accelerate.utils  # noqa: F401
import einops  # noqa: F401
import pytest  # noqa: F401
from diffusers import AutoencoderKL, FluxTransformer2DModel  # noqa: F401
from transformers import CLIPTextModel, CLIPTokenizerFast, T5EncoderModel  # noqa: F401
