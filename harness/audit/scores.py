"""Epsilon from attack scores: one method, one way to choose the threshold, one bound."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, assert_never

import numpy as np
from numpy.typing import ArrayLike

from ..checks import one_of, require
from ..seeds import generator
from ..types import AuditedEpsilon, Float64, sha256_of
from .inputs import check_levels
from .one_run import one_run_bound, one_run_result
from .one_run_fdp import one_run_fdp_bound, one_run_fdp_result
from .rates import best_log_ratio, clopper_pearson_result, epsilon_from_mu, gaussian_shift, gdp_result
from .score_guesses import GuessBounds
from .score_rates import RateBounds
from .thresholds import Bonferroni, Explicit, MultiSplit, Split, Threshold

Method = Literal["clopper_pearson", "gdp", "one_run", "one_run_fdp"]
METHODS: tuple[Method, ...] = ("clopper_pearson", "gdp", "one_run", "one_run_fdp")

_RESULTS = {
    "clopper_pearson": clopper_pearson_result,
    "gdp": gdp_result,
    "one_run": one_run_result,
    "one_run_fdp": one_run_fdp_result,
}


def epsilon_from_scores(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    *,
    delta: float,
    alpha: float = 0.05,
    method: Method,
    threshold: Threshold,
) -> AuditedEpsilon:
    """Return a lower bound on epsilon from scores, higher meaning "in".

    `clopper_pearson` (both directions) and `gdp` take a score from each of many independent trainings. `one_run` and
    `one_run_fdp` take the scores of all canaries of one training. Tied scores fall on the same side of a threshold;
    nothing is interpolated.

    Args:
        in_scores: (n_in,), at least one; NaN is refused.
        out_scores: (n_out,), at least one.
        delta: 0 <= delta < 1; greater than 0 for `gdp` and `one_run_fdp`.
        alpha: probability that the bound is wrong, 0 < alpha < 1.
        method: `clopper_pearson`, `gdp`, `one_run` or `one_run_fdp`.
        threshold: `Explicit`, `Split`, `MultiSplit` or `Bonferroni`. The middle two need two scores on either side.

    Raises:
        UsageError: a side is empty or too small, a score is NaN, the method is unknown, or alpha or delta is out of
            range; `Bonferroni(None)` with a one-run method.
    """
    one_of(METHODS, method=method)
    check_levels(alpha, delta)
    require(delta > 0 or method in ("clopper_pearson", "one_run"), "delta", delta, f"> 0 for {method}")
    ins, outs = _checked("in_scores", in_scores, threshold), _checked("out_scores", out_scores, threshold)
    value = max(0.0, _chosen(_bounds(method, ins, outs, delta), threshold, alpha, sha256_of(ins, outs)))
    if method == "gdp":
        value = epsilon_from_mu(value, delta)
    found = _RESULTS[method](value, len(ins) + len(outs), delta, alpha)
    return dataclasses.replace(found, method=f"{found.method}; {_words(threshold)}")


class _Bounds(Protocol):
    def at(self, threshold: float, alpha: float) -> float: ...
    def on_halves(self, rng: np.random.Generator, alpha: float) -> float: ...
    def at_best(self, size: int | None, alpha: float) -> float: ...


def _bounds(method: Method, ins: Float64, outs: Float64, delta: float) -> _Bounds:
    """What the method can bound: epsilon, for `gdp` mu."""
    match method:
        case "clopper_pearson":
            return RateBounds.of(lambda fnr, fpr: best_log_ratio(fnr, fpr, delta), ins, outs)
        case "gdp":
            return RateBounds.of(gaussian_shift, ins, outs)
        case "one_run":
            return GuessBounds.of(lambda m, r, v, alpha: one_run_bound(m, r, v, delta, alpha), ins, outs)
        case "one_run_fdp":
            return GuessBounds.of(lambda m, r, v, alpha: one_run_fdp_bound(m, r, v, delta, alpha), ins, outs)
        case _:
            assert_never(method)


def _chosen(bounds: _Bounds, threshold: Threshold, alpha: float, digest: str) -> float:
    """Bound by the strategy; splits are drawn anew for other scores (`digest`), so no place is favoured for good."""
    match threshold:
        case Explicit(value):
            return bounds.at(value, alpha)
        case Split(seed):
            return bounds.on_halves(generator(seed, "audit split", 0, digest), alpha)
        case MultiSplit(splits, seed):
            streams = (generator(seed, "audit split", i, digest) for i in range(splits))
            return float(np.median([bounds.on_halves(stream, alpha / 2) for stream in streams]))
        case Bonferroni(size):
            return bounds.at_best(size, alpha)
        case _:
            assert_never(threshold)


def _words(threshold: Threshold) -> str:
    match threshold:
        case Explicit(value):
            return f"threshold {value:.6g} fixed in advance"
        case Split(_):
            return "threshold chosen on one half of the scores, bound on the other"
        case MultiSplit(splits, _):
            return f"median of {splits} random splits, each at alpha / 2"
        case Bonferroni(size):
            return f"best of {size or 'all'} thresholds, alpha shared among them"
        case _:
            assert_never(threshold)


def _checked(name: str, scores: ArrayLike, threshold: Threshold) -> Float64:
    values = np.asarray(scores, dtype=np.float64)
    least = 2 if isinstance(threshold, Split | MultiSplit) else 1
    require(values.ndim == 1 and len(values) >= least, f"shape of {name}", values.shape, f"(n,) with n >= {least}")
    require(not np.isnan(values).any(), name, "NaN among them", "numbers")
    return values
