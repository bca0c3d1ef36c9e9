"""A layer's weights as the few bits that are kept, and back.

The libraries make the numbers, by their own rules. From then on they are plain tensors, which move,
are saved and read again like any others, and no library has to be imported before there is
something to quantise. Going back is a formula for each format, held to the library's own answer by
tests; bitsandbytes alone is asked each time.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.hardware.imports import imported
from scumble.hardware.quantisers.table import find

Kept = dict[str, Tensor]
"""Plain tensors by name: `codes`, and the scales that go with them."""

Weight = Float[Tensor, "outputs inputs"]
Size = tuple[int, int]

LEAST = 16
"""Layers with a side below this stay as they are: they hold next to nothing."""

GROUP, STEP = 128, 32
"""Of quanto below 8 bits: weights that share a scale, and by how many fewer until a row is so many
whole groups; a row that is not, or is no longer than a group, has one scale."""

BLOCK, OUTER = 64, 256
"""Of bitsandbytes: weights that share a scale, and scales that share one."""

QUANTO = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "fp8": "qfloat8_e4m3fn"}


def fits(quantiser: str, size: Size) -> bool:
    """Whether layers of that size are kept in fewer bits at all."""
    one = find(quantiser)
    whole = all(side % one.multiple == 0 for side in size) and size[1] % one.row == 0
    return whole and min(size) >= LEAST


def kept(quantiser: str, weight: Weight) -> Kept:
    """The weights in fewer bits, where they are; bf16 or float32."""
    weight = weight.detach().contiguous()
    match quantiser:
        case "int8-torchao" | "fp8-torchao":
            return _torchao(quantiser, weight)
        case "nf4-bnb":
            return _bitsandbytes(weight)
        case _:
            return _quanto(quantiser, weight)


def widened(quantiser: str, size: Size, tensors: Kept, dtype: torch.dtype) -> Weight:
    """The weights that are meant by what is kept; `dtype` is that in which they were quantised."""
    codes, scale = tensors["codes"], tensors["scale"]
    match quantiser:
        case "int8-quanto" | "int8-torchao":
            wide = torch.empty(size, dtype=dtype, device=codes.device)
            return torch.mul(codes, scale, out=wide)  # in one go: nothing is held in between
        case "fp8-quanto" | "fp8-torchao":
            return codes.to(scale.dtype).mul_(scale).to(dtype)
        case "int4-quanto" | "int2-quanto":
            levels = _levels(codes, find(quantiser).bits)[: len(scale)]
            return torch.mul(levels, scale).sub_(tensors["shift"]).reshape(size)
        case _:
            return _by_bitsandbytes(size, tensors, dtype)


def stored_bytes(quantiser: str, size: Size, width: int) -> int:
    """What a layer takes in fewer bits; `width` is the bytes of a number as it was read."""
    rows, columns = size
    count, bits = rows * columns, find(quantiser).bits
    match quantiser:
        case "int8-quanto" | "fp8-quanto":
            return count + rows * width
        case "int8-torchao" | "fp8-torchao":
            return count + rows * 4
        case "int4-quanto" | "int2-quanto":
            scales = count // (_group(columns) or columns)
            length = count // scales
            return ceil(scales * bits / 8) * length + 2 * scales * width
        case _:
            blocks = ceil(count / BLOCK)
            return ceil(count / 2) + blocks + 4 * (ceil(blocks / OUTER) + 16 + 256 + 1)


def _group(columns: int) -> int | None:
    """Weights of a row that share a scale below 8 bits; None: all of them."""
    if columns <= GROUP:
        return None
    return next((one for one in range(GROUP, 0, -STEP) if columns % one == 0), None)


def _quanto(quantiser: str, weight: Weight) -> Kept:
    quanto = imported("optimum.quanto")
    kind = quanto.qtypes[QUANTO[quantiser.removesuffix("-quanto")]]
    if kind.bits == 8:
        scale = quanto.AbsmaxOptimizer()(weight, qtype=kind, axis=0)
        made: Any = quanto.quantize_weight(weight, kind, 0, scale, optimized=False)
        return {"codes": made._data, "scale": made._scale}
    group = _group(weight.shape[1])
    scale, shift = quanto.MaxOptimizer()(weight, qtype=kind, axis=0, group_size=group)
    made = quanto.quantize_weight(weight, kind, 0, scale, shift, group, optimized=False)
    return {"codes": made._data._data, "scale": made._scale, "shift": made._shift}


def _torchao(quantiser: str, weight: Weight) -> Kept:
    torchao = imported("torchao.quantization")
    layer = torch.nn.Linear(*reversed(weight.shape), bias=False, device="meta")
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    whole = quantiser == "int8-torchao"
    torchao.quantize_(
        layer, torchao.Int8WeightOnlyConfig() if whole else torchao.Float8WeightOnlyConfig()
    )
    made: Any = layer.weight
    return {"codes": made.qdata, "scale": made.scale}


def _bitsandbytes(weight: Weight) -> Kept:
    functional = imported("bitsandbytes.functional")
    made: tuple[Tensor, Any] = functional.quantize_4bit(
        weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
    )
    codes, inner = made
    outer = inner.state2
    assert (inner.blocksize, outer.blocksize) == (BLOCK, OUTER)
    return {
        "codes": codes,
        "scale": inner.absmax,
        "levels": inner.code,
        "offset": inner.offset.reshape(1),
        "outer_scale": outer.absmax,
        "outer_levels": outer.code,
    }


def _by_bitsandbytes(size: Size, tensors: Kept, dtype: torch.dtype) -> Weight:
    functional = imported("bitsandbytes.functional")
    outer = functional.QuantState(
        absmax=tensors["outer_scale"],
        code=tensors["outer_levels"],
        blocksize=OUTER,
        dtype=torch.float32,
    )
    state = functional.QuantState(
        absmax=tensors["scale"],
        shape=torch.Size(size),
        code=tensors["levels"],
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=dtype,
        offset=tensors["offset"][0],
        state2=outer,
    )
    return functional.dequantize_4bit(tensors["codes"], state)


def _levels(codes: Tensor, bits: int) -> Tensor:
    """Levels of so many bits out of bytes: the first rows are the lowest bits of all bytes."""
    mask = 2**bits - 1
    return torch.cat([codes >> shift & mask for shift in range(0, 8, bits)])
