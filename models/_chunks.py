"""How a pool is cut into chunks that are trained as one program, from a budget of memory and the number of cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..harness.types import Ints

CACHE_BUDGET = 5 * 2**20
"""Bytes of weights and what goes with them that a CPU worker turns over in a step. Measured on networks of 61,000
weights: with 8 at once a model took least; with 4 the calls of a step weigh more, with 16 the cache is left."""

CUDA_BUDGET = 8 * 2**30
"""Bytes of the same on a GPU, where launches dominate and more models are better."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Models trained together: rows of each (equally long) and their seeds."""

    rows: tuple[Ints, ...]
    seeds: tuple[int, ...]


def chunks_of(rows: Sequence[Ints], seeds: Sequence[int], most: int) -> list[Chunk]:
    """Cut a pool into chunks of at most `most` consecutive models whose rows are equally long."""
    chunks = []
    for _, group in groupby(zip(rows, seeds, strict=True), key=lambda pair: len(pair[0])):
        alike = list(group)
        for start in range(0, len(alike), most):
            part = alike[start : start + most]
            chunks.append(Chunk(tuple(own for own, _ in part), tuple(seed for _, seed in part)))
    return chunks


def chunk_size(models: int, workers: int, bytes_per_model: int, budget: int) -> int:
    """Models in a chunk: what fits the budget, and no more than give every worker a chunk.

    >>> chunk_size(models=64, workers=2, bytes_per_model=500_000, budget=CACHE_BUDGET)
    8
    >>> chunk_size(models=4, workers=2, bytes_per_model=500_000, budget=CACHE_BUDGET)
    2
    """
    fitting = max(1, budget // bytes_per_model)
    share = -(-models // workers)
    rounds = -(-share // fitting)
    return -(-share // rounds)
