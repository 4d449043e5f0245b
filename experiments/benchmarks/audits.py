"""Time of the one-run bounds on epsilon for many canaries.

`python -m privassay.experiments.benchmarks.audits [--canaries 20000]` prints JSON: seconds of the slowest of a few
counts of guesses and right ones, the fastest of `--repeat` runs each, and of a whole audit of scores.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from ...harness.audit import Bonferroni, epsilon_from_scores, epsilon_one_run, epsilon_one_run_fdp

DELTA = 1e-6
GUESSED, RIGHT = (0.1, 0.5, 1.0), (0.55, 0.9, 1.0)  # shares of the canaries, and of the guesses


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Of the fastest run."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(canaries: int, repeat: int) -> dict[str, float]:
    """Seconds by what was done."""
    counts = [(round(share * canaries), right) for share in GUESSED for right in RIGHT]
    found = {}
    for method in (epsilon_one_run, epsilon_one_run_fdp):
        found[method.__name__] = max(
            seconds(lambda m=method, r=r, v=v: m(canaries, r, round(v * r), delta=DELTA), repeat)  # type: ignore[misc]
            for r, v in counts
        )
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=canaries // 2) + 1, rng.normal(size=canaries // 2)
    found["epsilon_from_scores, one_run, Bonferroni"] = seconds(
        lambda: epsilon_from_scores(inside, outside, delta=DELTA, method="one_run", threshold=Bonferroni()), repeat
    )
    return {name: round(value, 3) for name, value in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--canaries", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    measured(100, 1)  # imports are no part of an audit
    found = measured(options.canaries, options.repeat)
    print(json.dumps({"load": os.getloadavg(), "canaries": options.canaries, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
