"""Tokenizers that come with the package, for models that bring none: single files.

Made by `scripts/make_tokenizers.py`; NOTICE says where they are from.
"""

from pathlib import Path

SHIPPED = ("clip", "t5")


def shipped(kind: str) -> Path:
    """A folder that `from_pretrained` of CLIPTokenizer ("clip") or T5Tokenizer ("t5") reads.

    CLIP's has 49,408 pieces and pads with its end mark; T5's is that of T5 v1.1, 32,100 pieces.
    """
    assert kind in SHIPPED, f"no tokenizer '{kind}' comes with the package"
    return Path(__file__).parent / kind
