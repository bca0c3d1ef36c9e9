"""Scumble: fine-tune diffusion models on a person's own pictures."""

__version__ = "0.1.0"
