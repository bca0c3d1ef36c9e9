"""How near and how quick the ways are to take a layer's change apart: python bench/svd.py

A matrix of FLUX's size that is a rank-32 change of falling singular values, rounded to bf16 on top
of weights as a merged checkpoint holds it: what `scumble adapter extract` meets.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from scumble.checkpoint import low_rank

RANK = 32


def change(outputs: int, inputs: int, kind: torch.dtype) -> torch.Tensor:
    """The difference of two checkpoints stored in `kind`."""
    make = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=make) / inputs**0.5
    up = torch.randn(outputs, RANK, generator=make) * 0.9 ** torch.arange(RANK)
    down = torch.randn(RANK, inputs, generator=make) / inputs**0.5
    delta = up @ down * (0.02 / RANK**0.5)
    return (weight + delta).to(kind).float() - weight.to(kind).float()


def main() -> None:
    """One line for each way."""
    words = argparse.ArgumentParser()
    words.add_argument("--sides", type=int, nargs=2, default=(12288, 3072))
    words.add_argument("--rank", type=int, default=16)
    words.add_argument("--threads", type=int, default=2)
    words.add_argument("--ways", nargs="+", default=["sketch", "exact", "svd"])
    words.add_argument("--kinds", nargs="+", default=["float32", "bfloat16"])
    asked = words.parse_args()
    torch.set_num_threads(asked.threads)
    for kind in asked.kinds:
        outputs, inputs = asked.sides
        matrix = change(outputs, inputs, getattr(torch, kind))
        squares = float(matrix.double().square().sum())
        for way in asked.ways:
            start = time.perf_counter()
            if way == "svd":
                left, values, right = torch.linalg.svd(matrix, full_matrices=False)
                found = low_rank.Singular(left, values, right)
            else:
                draws = torch.Generator().manual_seed(1)
                found = low_rank.of_matrix(matrix, asked.rank, draws, exact=way == "exact")
            seconds = time.perf_counter() - start
            kept = low_rank.kept(matrix, found.first(asked.rank), squares)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{kind:9} {way:7} {seconds:7.1f} s  kept {kept:.7f}  peak so far {peak:.2f} GB")


if __name__ == "__main__":
    main()
