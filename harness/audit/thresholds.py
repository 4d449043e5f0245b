"""How `epsilon_from_scores` may choose its threshold without spoiling the bound."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import require
from .inputs import whole


@dataclass(frozen=True)
class Explicit:
    """A threshold fixed without these scores, e.g. on a pilot run: scores >= `threshold` are called "in".

    For the one-run methods every canary is guessed, "out" below the threshold, so that the number of guesses does not
    depend on the scores.
    """

    threshold: float

    def __post_init__(self) -> None:
        require(self.threshold == self.threshold, "threshold", self.threshold, "a number, not NaN")


@dataclass(frozen=True)
class Split:
    """Chosen on a random half of the scores, bound on the other. The same scores and seed give the same halves."""

    seed: int = 0


@dataclass(frozen=True)
class MultiSplit:
    """`splits` repetitions of `Split`, each at alpha / 2, and the median of their bounds.

    Valid however the repetitions depend on each other (Rueger 1978; as for p-values in Meinshausen, Meier and
    Buehlmann 2009, arXiv:0811.2177): if the median exceeds epsilon, at least half of the bounds do. On average at most
    a share alpha / 2 of them does, so by Markov's inequality half of them do with probability at most alpha.
    """

    splits: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        require(whole(self.splits) and self.splits >= 1, "splits", self.splits, "a whole number >= 1")


@dataclass(frozen=True)
class Bonferroni:
    """All thresholds of a set fixed in advance, alpha shared among them equally, and the best bound.

    Attributes:
        thresholds: size of the set. For the methods on rates: numbers of false positives, evenly spaced in log odds.
            For the one-run methods: numbers of guesses, evenly spaced in logarithm. None: every point of the ROC
            curve; for the methods on rates only.
    """

    thresholds: int | None = 10

    def __post_init__(self) -> None:
        size = self.thresholds
        require(size is None or (whole(size) and size >= 1), "thresholds", size, "a whole number >= 1, or None")


Threshold = Explicit | Split | MultiSplit | Bonferroni
