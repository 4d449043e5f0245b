"""Bounds from scores of independent trials: thresholds for the methods that rest on two error rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..types import Float64, Ints
from .rates import upper_end, upper_ends

Statistic = Callable[[Float64, Float64], Float64]


@dataclass(frozen=True, eq=False)
class RateBounds:
    """Largest value of a statistic that upper ends of (FNR, FPR) prove, by every way to choose the threshold.

    Attributes:
        statistic: falls in both rates; may be negative, where nothing is proved.
        ascending_in: float64 (n_in,), scores of the trials with the canary, sorted.
        ascending_out: float64 (n_out,), those of the trials without it, sorted.
    """

    statistic: Statistic
    ascending_in: Float64
    ascending_out: Float64

    @classmethod
    def of(cls, statistic: Statistic, in_scores: Float64, out_scores: Float64) -> RateBounds:
        """Sort the scores."""
        return cls(statistic, np.sort(in_scores), np.sort(out_scores))

    def at(self, threshold: float, alpha: float) -> float:
        """Bound at a threshold fixed without these scores."""
        fn, fp = self._errors(np.array([threshold]))
        fnr = upper_ends(len(self.ascending_in), alpha / 2)[fn]
        return float(self.statistic(fnr, upper_ends(len(self.ascending_out), alpha / 2)[fp])[0])

    def on_halves(self, rng: np.random.Generator, alpha: float) -> float:
        """Bound on one half of either side's trials at the threshold that is best on the others."""
        chosen_in, kept_in = _halves(self.ascending_in, rng)
        chosen_out, kept_out = _halves(self.ascending_out, rng)
        threshold = RateBounds(self.statistic, chosen_in, chosen_out)._best_threshold(alpha)
        return RateBounds(self.statistic, kept_in, kept_out).at(threshold, alpha)

    def at_best(self, size: int | None, alpha: float) -> float:
        """Best bound over `size` thresholds, over every point of the ROC curve for None."""
        return self._at_every_point(alpha) if size is None else self._at_grid(size, alpha)

    def _at_every_point(self, alpha: float) -> float:
        """Best bound over the whole ROC curve, every end at its share of alpha.

        FPR at a threshold with k false positives is at most the mass above the (k + 1)-th largest of the n_out
        scores, which is Beta(k + 1, n_out - k) or less where scores tie. Its upper end at alpha / (2 n_out) is the
        Clopper-Pearson end, and k takes n_out values (at n_out nothing is claimed), so all ends hold together with
        probability 1 - alpha / 2. The same goes for FNR, and a threshold may then be picked by its bound.
        """
        n_in, n_out = len(self.ascending_in), len(self.ascending_out)
        fn, fp = self._errors(self._thresholds())
        fnr, fpr = upper_ends(n_in, alpha / 2 / n_in)[fn], upper_ends(n_out, alpha / 2 / n_out)[fp]
        return float(self.statistic(fnr, fpr).max())

    def _at_grid(self, size: int, alpha: float) -> float:
        """Best bound over `size` numbers of false positives that n_out fixes.

        The threshold lies just above the (k + 1)-th largest score without the canary. It owes nothing to the scores
        with it, and FPR is bounded as in `_at_every_point`.
        """
        n_in, n_out = len(self.ascending_in), len(self.ascending_out)
        allowed = grid_of_false_positives(n_out, size)
        share = alpha / 2 / len(allowed)
        fn = np.searchsorted(self.ascending_in, self.ascending_out[n_out - 1 - allowed], side="right")
        return float(self.statistic(upper_end(fn, n_in, share), upper_end(allowed, n_out, share)).max())

    def _thresholds(self) -> Float64:
        """Every score: flagging scores >= t never divides a tie."""
        return np.concatenate([self.ascending_in, self.ascending_out])

    def _errors(self, thresholds: Float64) -> tuple[Ints, Ints]:
        fn = np.searchsorted(self.ascending_in, thresholds, side="left")
        return fn, len(self.ascending_out) - np.searchsorted(self.ascending_out, thresholds, side="left")

    def _best_threshold(self, alpha: float) -> float:
        thresholds = self._thresholds()
        fn, fp = self._errors(thresholds)
        fnr = upper_ends(len(self.ascending_in), alpha / 2)[fn]
        found = self.statistic(fnr, upper_ends(len(self.ascending_out), alpha / 2)[fp])
        return float(thresholds[np.argmax(found)])


def grid_of_false_positives(n_out: int, size: int) -> Ints:
    """At most `size` numbers from 0 to n_out - 1, evenly spaced in log odds of their share: int64, ascending."""
    from scipy.special import expit

    end = np.log(n_out)
    share = expit(np.linspace(-end, end, size)) if size > 1 else np.array([0.5])
    return np.asarray(np.unique(np.minimum((share * n_out).astype(np.int64), n_out - 1)))


def _halves(ascending: Float64, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """A random half and the rest, both ascending."""
    first = np.zeros(len(ascending), dtype=bool)
    first[rng.permutation(len(ascending))[: len(ascending) // 2]] = True
    return ascending[first], ascending[~first]
