"""Tokenizers that come with the package, for models that bring none: single files.

Made by `scripts/make_tokenizers.py`; NOTICE says where they are from.
"""

from pathlib import Path

SHIPPED = ("clip", "qwen", "t5")


def shipped(kind: str) -> Path:
    """A folder that `from_pretrained` of CLIPTokenizer ("clip") or T5Tokenizer ("t5") reads, or
    the `tokenizer` of `encoders/qwen_vl.py` ("qwen"), which makes the pieces from the merges.

    CLIP's has 49,408 pieces and pads with its end mark; T5's is that of T5 v1.1, 32,100 pieces;
    Qwen's is that of Qwen2.5-VL, 151,643 pieces and 22 marks.
    """
    assert kind in SHIPPED, f"no tokenizer '{kind}' comes with the package"
    return Path(__file__).parent / kind
