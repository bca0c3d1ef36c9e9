"""The two hashes that sd-scripts writes into an adapter file, and web UIs find it by."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from safetensors.torch import save
from torch import Tensor

LEGACY = slice(0x100000, 0x110000)
"""Bytes of the file that the older hash is of; web UIs have their eight letters in old prompts."""


def hashes(values: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """`sshs_model_hash` of all tensors' bytes, `sshs_legacy_hash` of a slice of a file that has no
    metadata but the `ss_` entries."""
    content = save(dict(values), {n: one for n, one in metadata.items() if n.startswith("ss_")})
    begins = 8 + int.from_bytes(content[:8], "little")
    return {
        "sshs_model_hash": sha256(memoryview(content)[begins:]).hexdigest(),
        "sshs_legacy_hash": sha256(content[LEGACY]).hexdigest()[:8],
    }
