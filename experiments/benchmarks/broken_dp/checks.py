"""What an auditor can tell from readings.

All checks together flag a correct trainer in less than one audit of 1,000: 4e-4 for each of two one-run bounds, `LEVEL`
for each of seven other tests and for the claim check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ....harness.accounting import dp_sgd_claim
from ....harness.audit import epsilon_one_run
from ....harness.claim_check import StatedClaim, check_claim
from ....harness.observed_batches import observed_from_batches
from ....harness.types import Bools, DPMechanism, Float64
from .network import Network
from .readings import Reading, Records
from .trainers import Release

LEVEL = 1e-5
BOUND_LEVEL = 4e-4
"""Level of the one-run bound, which seldom comes near the truth and needs more room."""

_ROUNDING = 1e-6  # relative: of solving the sums from the weights


@dataclass(frozen=True)
class Finding:
    """Why a trainer is flagged: which check, and the cause in words."""

    check: str
    cause: str


def noise(first: Reading, second: Reading, elsewhere: Reading) -> list[Finding]:
    """Compare the noise on blank coordinates with the claim's, then that on every layer.

    Args:
        first: a run by the plan that is claimed for.
        second: the same with another seed.
        elsewhere: a run on one record with another clip.
    """
    from scipy.special import chdtr

    if first.measured == 0:
        return [Finding("noise", "no noise at all")]
    if _reused(first.blank):
        return [Finding("noise", "the same noise in every step")]
    if _alike(first.blank, second.blank):
        return [Finding("noise", "the same noise whatever the seed")]
    ratio, cells = first.measured / first.claimed, first.blank.size
    if chdtr(cells, cells * ratio**2) >= LEVEL:
        return _layers_short_of_noise(elsewhere)
    cause = f"noise is {ratio:.2f} of what is claimed"
    unit, other = (reading.measured / reading.plan.noise_multiplier for reading in (first, elsewhere))
    if abs(other / unit - 1) < 0.1:
        cause += ", and the same at another clip: it does not scale with the clip"
    return [Finding("noise", cause)]


def _layers_short_of_noise(single: Reading) -> list[Finding]:
    """Compare how each layer's sums vary over steps with the claim; the record's own part in them is constant."""
    from scipy.special import chdtr

    layers, found = Network(single.features).layers, []
    for name, part in layers.items():
        sums = single.sums[:, part]
        freedom = sums[1:].size
        chi_square = float(((sums - sums.mean(axis=0)) ** 2).sum()) / single.claimed**2
        if chdtr(freedom, chi_square) < LEVEL / len(layers):
            ratio = np.sqrt(chi_square / freedom)
            found.append(Finding("noise", f"noise on the {name} is {ratio:.2f} of what is claimed"))
    return found


def _reused(blank: Float64) -> bool:
    """Whether the means over steps vary more than independent steps allow (analysis of variance)."""
    from scipy.special import fdtrc

    steps, cells = blank.shape
    means = blank.mean(axis=0)
    within = ((blank - means) ** 2).sum() / ((steps - 1) * cells)
    between = steps * (means**2).sum() / cells
    return bool(between > 0 and fdtrc(cells, (steps - 1) * cells, between / max(within, 1e-300)) < LEVEL)


def _alike(first: Float64, second: Float64) -> bool:
    """Whether two runs' noises are correlated."""
    from scipy.special import ndtri

    steps = min(len(first), len(second))
    a, b = first[:steps].ravel(), second[:steps].ravel()
    correlation = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300)
    return bool(abs(correlation) * np.sqrt(len(a)) > -ndtri(LEVEL / 2))


def joined(reading: Reading) -> Bools:
    """Which canary took part in which step: bool (steps, canaries). The reading's noise must be small."""
    return np.asarray(np.linalg.norm(reading.own, axis=2) > reading.plan.max_grad_norm / 2)


def claim(stated: StatedClaim, quiet: Reading) -> list[Finding]:
    """Recompute the claim from the batches that the weights show, whatever a log may say."""
    member = joined(quiet)
    batches = [np.flatnonzero(row) for row in member]
    sampling = observed_from_batches(batches, member.shape[1], stated.sample_rate)
    observed = DPMechanism(stated.noise_multiplier, stated.max_grad_norm, sampling, stated.delta)
    findings = check_claim(stated, observed).findings
    return [Finding("claim", f.text.rstrip(".") + _fitting_delta(f.code, stated)) for f in findings]


def _fitting_delta(code: str, stated: StatedClaim) -> str:
    """Where epsilon does not follow from the parameters: the delta that it would follow from, if it is a round one."""
    if code != "arithmetic":
        return ""
    for delta in stated.delta * 10.0 ** np.arange(1, 6):
        epsilon = dp_sgd_claim(replace(stated.mechanism, delta=float(delta))).epsilon
        if abs(epsilon / stated.epsilon - 1) < 1e-3:
            return f"; {stated.epsilon:.6g} is what it gives at delta {delta:.3g}, not {stated.delta:.3g}"
    return ""


def sensitivity(quiet: Reading, single: Reading) -> list[Finding]:
    """See whether a record moves a sum by more than the clip.

    Args:
        quiet: a run on canaries with little noise.
        single: a run on one record with little noise.
    """
    from scipy.special import chdtri

    missed = _layers_beyond_the_clip(single)
    if missed:
        return [Finding("sensitivity", f"a record on its own exceeds the clip: {', '.join(missed)}")]
    own, clip = quiet.own, quiet.plan.max_grad_norm
    noise = max(quiet.claimed, quiet.measured) * np.sqrt(chdtri(own.shape[2], LEVEL / own[:, :, 0].size))
    most = float(np.linalg.norm(own, axis=2).max())
    if most <= clip * (1 + _ROUNDING) + noise:
        return []
    cause = f"a record among others moves the sum by {most / clip:.1f} clips, on its own by one: the batch is clipped"
    return [Finding("sensitivity", cause)]


def _layers_beyond_the_clip(single: Reading) -> list[str]:
    """Layers in which the mean sum is longer than the clip by more than noise, with its length in clips."""
    from scipy.special import chdtri

    mean, clip = single.sums.mean(axis=0), single.plan.max_grad_norm
    groups = {**Network(single.features).layers, "all layers together": slice(None)}
    deviation = single.noise_of_total() / np.sqrt(len(single.sums))
    found = []
    for name, part in groups.items():
        length = float(np.linalg.norm(mean[part]))
        noise = deviation * np.sqrt(chdtri(len(mean[part]), LEVEL / len(groups)))
        if length > clip * (1 + _ROUNDING) + noise:
            found.append(f"{name} {length / clip:.1f} clips")
    return found


def absent_records(quiet: Reading) -> list[Finding]:
    """See whether coordinates that only one canary can move also move when it takes no part."""
    from scipy.special import chdtrc

    absent = ~joined(quiet)
    steps = absent.sum(axis=0)
    totals = (quiet.own * absent[:, :, np.newaxis]).sum(axis=0)[steps > 0]
    chi_square = float((totals**2 / steps[steps > 0, np.newaxis]).sum()) / quiet.noise_of_total() ** 2
    if chdtrc(totals.size, chi_square) >= LEVEL:
        return []
    return [Finding("absent records", "a record that takes no part in a step moves it through the others")]


def by_products(without: list[Release], with_one: list[Release]) -> list[Finding]:
    """Compare what neighbouring data sets give away beside the weights, over runs with as many seeds each.

    A value without noise that differs between neighbours has no epsilon. Numbers of steps are only said to differ when
    every run of one side took fewer than every run of the other, which chance does in 2 of C(2 runs, runs) cases.
    """
    found = []
    for name in ("shift", "scale"):
        sides = [np.array([getattr(release, name) for release in side]) for side in (without, with_one)]
        if all((side == side[0]).all() for side in sides) and (sides[0][0] != sides[1][0]).any():
            found.append(Finding("by-products", f"the normaliser's {name} depends on members and has no noise"))
    few, many = sorted(sorted(release.steps for release in side) for side in (without, with_one))
    if few[-1] < many[0]:
        found.append(Finding("by-products", "the number of steps depends on one member"))
    return found


def scores(reading: Reading, records: Records) -> Float64:
    """White-box score of each canary: log-likelihood ratio of having been in the data, over all steps.

    In the canary's own direction a step shows noise alone, or with the sample rate's probability noise around one clip.
    """
    network, plan = Network(reading.features), reading.plan
    gradients = network.gradients(reading.release.start, *records)[:, network.layers["input weights"]]
    directions = gradients.reshape(len(gradients), -1, network.hidden)[:, -len(gradients) :]
    own = np.diagonal(directions).T
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    shown = np.einsum("tjh,jh->tj", reading.own, own) / plan.max_grad_norm
    exponent = (shown - 0.5) / plan.noise_multiplier**2
    return np.asarray(np.logaddexp(np.log1p(-plan.sample_rate), np.log(plan.sample_rate) + exponent).sum(axis=0))


def bound(scores: Float64, coins: Bools, delta: float) -> float:
    """One-run lower bound on epsilon: the tenth of canaries with the highest scores guessed in, the lowest out."""
    order, tenth = np.argsort(scores, kind="stable"), len(scores) // 10
    right = int(coins[order[-tenth:]].sum() + (~coins[order[:tenth]]).sum())
    return float(epsilon_one_run(len(scores), 2 * tenth, right, delta=delta, alpha=BOUND_LEVEL))
