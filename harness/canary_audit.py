"""Audit of one candidate by canaries: train with them, guess the coins, state what the right guesses prove.

The members that are in every run are those of the pool's model 0; canaries take the place of records of the other half.
The runs go through the same training and the same store as the pool, with noise of their own.

A canary's score is the logit of its label behind the defence, less the mean of that logit over the candidate's pool:
reference models that were trained before any canary existed, so they know no coin. (`own_feature`: less that of a
record without any feature, as the pool's models do not have the canaries' features.)

Neighbours: a coin adds or removes a record, the relation of `add_or_remove_one`. A claim for `zero_out_one` is about a
record that stops counting while the number of records stays. Here the number changes too, and where a step takes the
mean over the records of a batch, one more of them can move it by up to twice what the claim covers. So no bound
contradicts such a claim, nor one about replaced records or about users. A claim for `add_or_remove_one` takes the
number of records to be public, though rate, steps and calibrated noise follow from it: that assumption stands in
`assumes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from .accounting import claim_of
from .audit import (
    epsilon_clopper_pearson_both,
    epsilon_one_run_fdp,
    epsilon_one_run_group,
    max_provable_epsilon,
)
from .canaries import Canaries, check_number, coins, copies_of, insert
from .config import AuditSection
from .evaluation import Setting
from .events import Event
from .evidence import Audit
from .pool import Pool
from .seeds import derive, generator
from .training import train_pool
from .types import AuditedEpsilon, Bools, Float32, Float64, Ints, PrivacyClaim, Split
from .view import softmax

_SMALLEST = 1e-12  # keeps logits finite where a defence rounds probabilities to 0
_PUBLIC_SIZE = (
    "Compared with the claim, it is assumed that the number of records is public: coins change it, and the claim does"
    " not cover what is given away by sampling rate, steps and noise that follow from it."
)
_OTHER_NEIGHBOURS = (
    "No bound from these coins contradicts the claim: a coin adds or removes a record, and the claim is about "
)
_CHANGES = {
    "zero_out_one": "one that stops counting while the number of records stays the same.",
    "replace_one": "one that is replaced by another.",
}
_USERS = "all records of a user."


@dataclass(frozen=True, eq=False)
class Runs:
    """Training runs with canaries, as an auditor sees them.

    Attributes:
        canaries: what was inserted.
        included: bool (runs, m), the coins.
        scores: float64 (runs, m), higher = rather trained on.
        claims: each run's claim, None where its training promises nothing.
    """

    canaries: Canaries
    included: Bools
    scores: Float64
    claims: tuple[PrivacyClaim | None, ...]


@dataclass(frozen=True)
class _Terms:
    """What all audits of one candidate share: the section, levels, and the seed that breaks ties."""

    section: AuditSection
    delta: float
    alpha: float
    seed: int


def audit_candidate(pool: Pool, setting: Setting, section: AuditSection) -> tuple[Audit, ...]:
    """Audit a candidate by canaries.

    Args:
        pool: its trained models.
        setting: the run's setting; with the probability that its resampling's level names, all lower bounds of all
            candidates of the section are true.
        section: what to do.

    Returns:
        `one_run`: a lower bound from all canaries (Steinke et al. 2023); several runs count as one, since each coin
        touches one of them. `one_run_fdp`: the same guesses, for mechanisms with a Gaussian trade-off curve
        (Mahloujifar et al. 2024). With several runs `multi_run`: a lower bound from the first canary alone, one trial
        in each run after the first, which sets the threshold; 0 where its coin came out the same in all of them.
        Duplicates have `one_run` only. Alpha is divided by the number of candidates that the section names, and with
        two lower bounds by two more.

    Raises:
        UsageError: more canaries than the delta of the claim allows, or they cannot be made for these data.
        InfrastructureError: the disk failed.
    """
    mechanism = pool.mechanism(0)
    delta = section.delta if mechanism is None else mechanism.delta
    check_number(section.canaries * section.models, delta)
    return what_follows(train_with_canaries(pool, setting, section), setting, section, delta)


def what_follows(runs: Runs, setting: Setting, section: AuditSection, delta: float) -> tuple[Audit, ...]:
    """What training runs with canaries prove at `delta`: the audits that `audit_candidate` returns."""
    bounds = section.sharing * (1 if section.models == 1 else 2)
    alpha = (1 - setting.resampling.level) / bounds
    terms = _Terms(section, delta, alpha, derive(setting.seed, "audit", "ties"))
    return (*_one_run(runs, terms), *_multi_run(runs, terms))


def train_with_canaries(pool: Pool, setting: Setting, section: AuditSection) -> Runs:
    """Train `section.models` models with canaries, or find them in the store, and score every canary on each."""
    seed = derive(setting.seed, "audit")  # other noise than the pool's, which the scores are compared with
    canaries, fixed = _inserted(setting, section, seed)
    included = np.stack([coins(len(canaries), seed, run) for run in range(section.models)])
    split = _split(setting, canaries, fixed, included)

    def observe(event: Event) -> None:
        setting.observe(replace(event, step=f"audit, {event.step}"))

    trained = train_pool(pool.spec, (canaries.dataset, split), setting.store, seed, observe)
    centre = _centre(pool, canaries, seed)
    scores = np.stack([_seen(trained, run, canaries, seed) - centre(trained, run) for run in range(section.models)])
    return Runs(canaries, included, scores, tuple(_claim(trained, run) for run in range(section.models)))


def right_guesses(scores: Float64, included: Bools, guesses: int, seed: int) -> int:
    """How many guesses are right: the highest half of them "in", the lowest "out".

    Args:
        scores: (m,), higher = rather in.
        included: bool (m,), the coins.
        guesses: even, at most m, fixed without looking at scores or coins.
        seed: of the order of equal scores, which must not be that of the records.
    """
    shuffled = generator(seed, "order").permutation(len(scores))
    order = shuffled[np.argsort(scores[shuffled], kind="stable")]
    half = guesses // 2
    return int((~included[order[:half]]).sum() + included[order[len(order) - half :]].sum())


def _inserted(setting: Setting, section: AuditSection, seed: int) -> tuple[Canaries, Ints]:
    """The canaries, and the rows of the members that are in every run."""
    split = setting.split
    spare = split.pool[~split.member[0]]
    order = generator(seed, "rows").permutation(len(spare))[: section.canaries * copies_of(section.kind)]
    return insert(setting.dataset, spare[order], section.kind, seed), split.rows(0)


def _split(setting: Setting, canaries: Canaries, fixed: Ints, included: Bools) -> Split:
    """Who trains on what; unlike elsewhere, models are no complements of one another."""
    pool = np.sort(np.concatenate([fixed, canaries.rows.ravel()]))
    member = [np.isin(pool, np.concatenate([fixed, canaries.taken(own)])) for own in included]
    return Split(pool, np.setdiff1d(np.arange(len(setting.dataset)), pool), np.stack(member))


def _centre(pool: Pool, canaries: Canaries, seed: int) -> Callable[[Pool, int], Float64 | float]:
    """What to subtract from the logits of the canaries' labels on a run of the audit."""
    if canaries.kind == "own_feature":
        nothing = np.zeros((1, *canaries.dataset.shape), dtype=np.float32)
        labels = canaries.dataset.y[canaries.rows[:, 0]]

        def of_an_empty_record(trained: Pool, run: int) -> Float64:
            answer = _released(trained, run, nothing, derive(seed, "empty"))
            return _label_logits(np.repeat(answer, len(labels), axis=0), labels)

        return of_an_empty_record
    mean = np.mean([_seen(pool, k, canaries, seed) for k in range(len(pool.keys))], axis=0)
    return lambda _trained, _run: mean


def _seen(pool: Pool, k: int, canaries: Canaries, seed: int) -> Float64:
    """Logit of each canary's label in what model k answers, the mean over its copies: float64 (m,)."""
    rows = canaries.rows.ravel()
    answers = _released(pool, k, canaries.dataset.x[rows], derive(seed, "canaries"))
    return np.asarray(_label_logits(answers, canaries.dataset.y[rows]).reshape(canaries.rows.shape).mean(axis=1))


def _released(pool: Pool, k: int, x: Float32, seed: int) -> Float64:
    """What model k answers behind its defence: float64 (n, classes)."""
    return pool.defense(k).release(softmax(pool.model(k).logits(x)), generator(seed, pool.spec.id, pool.keys[k]))


def _label_logits(probabilities: Float64, labels: Ints) -> Float64:
    """Logit of each label, ln p_y - ln of the sum of the others: float64 (n,)."""
    chosen = np.arange(probabilities.shape[1]) == labels[:, None]
    others = np.where(chosen, 0.0, probabilities).sum(axis=1)
    return np.asarray(np.log(np.maximum(probabilities[chosen], _SMALLEST)) - np.log(np.maximum(others, _SMALLEST)))


def _claim(pool: Pool, run: int) -> PrivacyClaim | None:
    mechanism = pool.mechanism(run)
    return None if mechanism is None else claim_of(mechanism)


def _one_run(runs: Runs, terms: _Terms) -> Iterator[Audit]:
    """Audits of all runs as one mechanism: each coin touches one run, so R runs of m canaries are one of R x m."""
    count, copies = len(runs.scores), runs.canaries.copies
    m, made = count * len(runs.canaries), count * terms.section.made
    right = sum(
        right_guesses(scores, included, terms.section.made, derive(terms.seed, run))
        for run, (scores, included) in enumerate(zip(runs.scores, runs.included, strict=True))
    )

    def bound(v: int) -> AuditedEpsilon:
        return epsilon_one_run_group(m, made, v, copies, delta=terms.delta, alpha=terms.alpha)

    def gaussian_bound(v: int) -> AuditedEpsilon:
        return epsilon_one_run_fdp(m, made, v, delta=terms.delta, alpha=terms.alpha)

    yield _audit("one_run", runs, (count, made, right), (bound(right), bound(made).value))
    if copies == 1:
        yield _audit("one_run_fdp", runs, (count, made, right), (gaussian_bound(right), gaussian_bound(made).value))


def _multi_run(runs: Runs, terms: _Terms) -> Iterator[Audit]:
    """One canary, fixed in advance, in the runs after the first, by a threshold that all canaries of the first set."""
    if runs.canaries.copies > 1 or len(runs.scores) == 1:
        return
    threshold = best_threshold(runs.scores[0], runs.included[0])
    says, is_in = runs.scores[1:, 0] >= threshold, runs.included[1:, 0]
    n_in, n_out = int(is_in.sum()), int((~is_in).sum())
    tp, fp = int((says & is_in).sum()), int((says & ~is_in).sum())
    if n_in and n_out:
        found = epsilon_clopper_pearson_both(tp, n_in, fp, n_out, delta=terms.delta, alpha=terms.alpha)
        ceiling = max_provable_epsilon(n_in, n_out, delta=terms.delta, alpha=terms.alpha)
    else:
        words = "none: the coin of the one canary came out the same in every run after the first"
        found = AuditedEpsilon(
            0.0, 0.0, None, 1 - terms.alpha, "lower bound", words, terms.delta, len(says), "Nothing."
        )
        ceiling = 0.0
    yield _audit("multi_run", runs, (len(says), n_in + n_out, tp + n_out - fp), (found, ceiling))


def best_threshold(scores: Float64, included: Bools) -> float:
    """The score from which on "in" is right most often: one of `scores`, (m,)."""
    order = np.argsort(-scores, kind="stable")
    gained = np.cumsum(np.where(included[order], 1, -1))
    ends = np.append(np.diff(scores[order]) != 0, True)  # equal scores are called together
    return float(scores[order][np.where(ends, gained, -len(scores) - 1).argmax()])


def _audit(name: str, runs: Runs, counts: tuple[int, int, int], found: tuple[AuditedEpsilon, float]) -> Audit:
    """The record of one method: `counts` are training runs, guesses and right ones, `found` the bound and its most."""
    epsilon, ceiling = found
    claims = [claim for claim in runs.claims if claim is not None]
    claim = max(claims, key=lambda own: own.epsilon) if len(claims) == len(runs.claims) else None
    apart = claim is not None and _other_neighbours(claim)
    return Audit(
        id=name,
        canaries=len(runs.canaries) if name.startswith("one_run") else 1,
        kind=runs.canaries.kind,
        models=counts[0],
        guesses=counts[1],
        right=counts[2],
        epsilon=epsilon if claim is None or apart else _with_public_size(epsilon),
        claimed=None if claim is None else claim.epsilon,
        ceiling=ceiling,
        contradicts=claim is not None and contradicts(epsilon, claim),
        note="" if claim is None or not apart else _why_apart(claim),
    )


def contradicts(found: AuditedEpsilon, claim: PrivacyClaim) -> bool:
    """Whether a claim and a proven lower bound for added or removed records cannot both be true."""
    return found.kind == "lower bound" and not _other_neighbours(claim) and found.low > claim.epsilon


def _other_neighbours(claim: PrivacyClaim) -> bool:
    return claim.neighbouring != "add_or_remove_one" or claim.unit != "record"


def _why_apart(claim: PrivacyClaim) -> str:
    return _OTHER_NEIGHBOURS + (_USERS if claim.unit == "user" else _CHANGES[claim.neighbouring])


def _with_public_size(found: AuditedEpsilon) -> AuditedEpsilon:
    return replace(found, assumes=f"{found.assumes} {_PUBLIC_SIZE}")
