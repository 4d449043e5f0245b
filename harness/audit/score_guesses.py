"""Bounds from scores of canaries of one run: which canaries to guess, for the one-run methods.

The k highest scores are guessed "in" and the k lowest "out", r = 2 k guesses. k must not depend on who was in. Tied
scores are ordered at random, never by their place in the arrays, which tells who was in. The order is drawn anew for
other scores: one fixed shuffle would lead the same places, and so the same side, in every audit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..seeds import generator
from ..types import Bools, Float64, Ints, sha256_of

OneRunBound = Callable[[int, int, int, float], float]
"""Bound from (m, r, v, alpha)."""

_Z = 2.0  # of the score interval by which a number of guesses is chosen; a choice, nothing rests on it


@dataclass(frozen=True, eq=False)
class GuessBounds:
    """Bound of `bound` by every way to choose the guesses.

    Attributes:
        bound: the one-run method.
        scores: float64 (m,), in an order that is independent of the coins.
        member: bool (m,), the coins.
    """

    bound: OneRunBound
    scores: Float64
    member: Bools

    @classmethod
    def of(cls, bound: OneRunBound, in_scores: Float64, out_scores: Float64) -> GuessBounds:
        """Put all canaries together, in random order."""
        order = generator(0, "order", sha256_of(in_scores, out_scores)).permutation(len(in_scores) + len(out_scores))
        return cls(bound, np.concatenate([in_scores, out_scores])[order], order < len(in_scores))

    def at(self, threshold: float, alpha: float) -> float:
        """Bound from guessing every canary, "in" from `threshold` on."""
        right = int(((self.scores >= threshold) == self.member).sum())
        return self.bound(len(self.scores), len(self.scores), right, alpha)

    def on_halves(self, rng: np.random.Generator, alpha: float) -> float:
        """Bound on one half of the canaries with the number of guesses that is best on the other.

        The halves are drawn without regard to who was in: the coins of the second half stay fair given the first.
        """
        order = rng.permutation(len(self.scores))
        chosen, kept = np.split(order, [len(order) // 2])
        right = _right_guesses(self.scores[chosen], self.member[chosen])
        guesses = 2 * np.arange(1, len(right) + 1)
        k = (1 + int(np.argmax(_score_lower_end(right, guesses)))) * len(kept) // len(chosen)
        right = _right_guesses(self.scores[kept], self.member[kept])
        return self.bound(len(kept), 2 * k, int(right[k - 1]), alpha)

    def at_best(self, size: int | None, alpha: float) -> float:
        """Best bound over `size` numbers of guesses that m fixes."""
        if size is None:
            raise UsageError("Bonferroni(None): the one-run methods need a number of thresholds, such as 10")
        right = _right_guesses(self.scores, self.member)
        grid = grid_of_guesses(len(self.scores), size, alpha)
        share = alpha / len(grid)
        return max(self.bound(len(self.scores), 2 * int(k), int(right[k - 1]), share) for k in grid)


def grid_of_guesses(m: int, size: int, alpha: float) -> Ints:
    """At most `size` values of k from the fewest that can prove anything to m // 2, evenly spaced in logarithm."""
    most = m // 2
    fewest = min(math.ceil(math.log2(size / alpha) / 2), most)
    return np.asarray(np.unique(np.geomspace(most, fewest, size).round().astype(np.int64)))


def _right_guesses(scores: Float64, member: Bools) -> Ints:
    """Right guesses with k = 1, 2, .. m // 2 on either side; scores in an order that is independent of `member`."""
    ranked = member[np.argsort(-scores, kind="stable")]
    half = len(ranked) // 2
    return np.asarray(np.cumsum(ranked[:half]) + np.cumsum(~ranked[::-1][:half]))


def _score_lower_end(right: Ints, guesses: Ints) -> Float64:
    """Lower end of Wilson's interval of right / guesses."""
    share, z2 = right / guesses, _Z**2 / guesses
    return np.asarray((share + z2 / 2 - np.sqrt(z2 * (share * (1 - share) + z2 / 4))) / (1 + z2))
