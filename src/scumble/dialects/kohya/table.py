"""All options of flux_train_network.py, and how one is found by a name."""

from difflib import get_close_matches

from scumble.dialects.kohya.data_options import CACHES, DATA, HELD_OUT, PREVIEWS
from scumble.dialects.kohya.model_options import MODEL, NETWORK, OBJECTIVE
from scumble.dialects.kohya.run_options import SAVING, TELLING, TRAINING

GROUPS = {
    "model": MODEL,
    "network": NETWORK,
    "noise levels and loss": OBJECTIVE,
    "training": TRAINING,
    "saving": SAVING,
    "data": DATA,
    "caches": CACHES,
    "previews": PREVIEWS,
    "held-out loss": HELD_OUT,
    "logging and files": TELLING,
}
OPTIONS = {option.name: option for options in GROUPS.values() for option in options}

SECRETS = frozenset({"wandb_api_key", "huggingface_token"})
"""Written to no file."""


def nearest(name: str, *, cutoff: float = 0.6) -> str:
    """The option whose name is most like this one; "" where none is."""
    near = get_close_matches(name, OPTIONS, n=1, cutoff=cutoff)
    return near[0] if near else ""
