"""How often each audit reports a positive epsilon on scores that say nothing about membership.

`python -m privassay.experiments.benchmarks.null_calibration [--repetitions 1000] [--sizes 100 1000 10000]` prints
JSON: for each method, way to choose the threshold, size and kind of scores the share of repetitions with epsilon
above 0, which alpha = 0.05 bounds. `--markdown` prints the table for docs/audits.md instead.

A repetition draws 2 n scores, continuous or on five levels, and a fair coin for each: about n are "in". `MultiSplit`
above n = 1,000 gets a fifth of the repetitions.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ...harness.audit import METHODS, Bonferroni, Explicit, Method, MultiSplit, Split, Threshold, epsilon_from_scores
from ...harness.seeds import generator
from ...harness.types import Float64

ALPHA, DELTA = 0.05, 1e-5
STRATEGIES: Mapping[str, Threshold] = {
    "Explicit": Explicit(0.5),
    "Split": Split(),
    "MultiSplit": MultiSplit(),
    "Bonferroni": Bonferroni(),
    "Bonferroni, whole ROC": Bonferroni(None),
}
SCORES: Mapping[str, Callable[[Float64], Float64]] = {
    "continuous": lambda uniform: uniform,
    "five levels": lambda uniform: (np.floor(uniform * 5) + 0.5) / 5,
}
_LARGE = 1000


@dataclass(frozen=True)
class Cell:
    """Share of null repetitions in which a bound was above 0."""

    method: Method
    strategy: str
    n: int
    scores: str
    repetitions: int
    share_positive: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=[*STRATEGIES])
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args(arguments)
    cells = [
        measured(method, strategy, n, scores, chosen.repetitions)
        for method, strategy in itertools.product(METHODS, chosen.strategies)
        if not (method.startswith("one_run") and STRATEGIES[strategy] == Bonferroni(None))
        for n, scores in itertools.product(chosen.sizes, SCORES)
    ]
    print(markdown(cells) if chosen.markdown else json.dumps([asdict(cell) for cell in cells], indent=1))


def measured(method: Method, strategy: str, n: int, scores: str, repetitions: int) -> Cell:
    """One cell of the table."""
    count = max(1, repetitions // 5) if strategy == "MultiSplit" and n > _LARGE else repetitions
    alarms = 0
    for repetition in range(count):
        ins, outs = null_scores(n, scores, repetition)
        found = epsilon_from_scores(ins, outs, delta=DELTA, alpha=ALPHA, method=method, threshold=STRATEGIES[strategy])
        alarms += found.value > 0
    return Cell(method, strategy, n, scores, count, alarms / count)


def null_scores(n: int, scores: str, repetition: int) -> tuple[Float64, Float64]:
    """Scores in (0, 1) of "in" and "out", 2 n together, each on its side by a fair coin."""
    rng = generator(repetition, "null scores", n)
    values = SCORES[scores](rng.random(2 * n))
    member = rng.random(2 * n) < 0.5
    return values[member], values[~member]


def markdown(cells: Sequence[Cell]) -> str:
    """The shares in per cent: a line for each method and strategy, a column for each size and kind of scores."""
    heads = dict.fromkeys(f"n = {cell.n:,}, {cell.scores}" for cell in cells)
    lines = ["| method | threshold | " + " | ".join(heads) + " |", "|---|---|" + "--:|" * len(heads)]
    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(f"| `{cell.method}` | {cell.strategy} | ", []).append(f"{100 * cell.share_positive:.1f}")
    return "\n".join([*lines, *(start + " | ".join(shares) + " |" for start, shares in rows.items())])


if __name__ == "__main__":
    main()
