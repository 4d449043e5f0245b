"""Checks of the instrument in every run. When one does not pass, no verdict of the run may be trusted.

- Shuffled membership: the attacks run once more, from end to end, on a pool whose masks were shuffled over the
  records, or over the users where the data tell them apart, for attacker and metrics alike. Nothing can be learnt;
  whatever still separates "members" comes from the instrument: an attack that peeks at the answer, a metric that
  invents a signal.
- Planted leak: forests fitted to random labels can only memorise. If the primary attack does not see that, or none of
  the attacks where a run has no primary one, the instrument is blind. An attack that is worse than guessing there has
  its sign wrong. The recipe is the same in every run: one that cannot memorise would accuse the instrument.
- Model-free baseline: members must not differ from non-members before any model has seen them. Where they do, an
  attack can do well by reading the records, and membership results say nothing about the model (Das, Zhang and Tramèr
  2024, arXiv 2406.16201, "blind" attacks; Meeus et al. 2024, arXiv 2406.17975, bags of words without a model).

Where the data tell users apart, users are members, with all records or with none, and only users stand for each other:
every control shuffles, compares and counts users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from .errors import NotApplicable
from .evaluation import NamedAttack, Setting, run_membership
from .evidence import Control
from .metrics import auc_metric
from .pool import CandidateSpec, Pool
from .protocols import SamplingAttack
from .seeds import generator
from .splits import subset
from .stats import Resampling
from .training import train_pool
from .types import Bools, Estimate, Float32, Float64, Ints, Split
from .users import control_about_users, mean_of_users, of_users

SHUFFLED_LEVEL = 0.999
"""Level of the controls' intervals: about one false alarm in 1000 runs for each attack on shuffled membership."""

LEAST_RESAMPLES = 5000
"""With fewer, an interval of that level would end at the most extreme of them, and alarm more often than it says."""

PLANTED_LEAST_AUC = 0.6
CONTROL_MODELS = 8
"""A control asks a yes-or-no question: four pairs of models answer it. One pair alone alarms too often."""

MODEL_FREE_RECORDS = 5000
"""Records of each target that the blind forests see at most: they are asked for large differences, in seconds."""

_TINY = 1e-12  # keeps the ratio of a column that never varies finite


def run_controls(
    pool: Pool,
    forests: tuple[CandidateSpec, CandidateSpec],
    setting: Setting,
    attacks: Sequence[NamedAttack],
    primary: str | None,
) -> tuple[Control, ...]:
    """Run every control; one that breaks is recorded as an error.

    Args:
        pool: trained models of the first candidate.
        forests: what the planted control trains, a recipe that is known to memorise; and what the model-free baseline
            trains, one that generalises. Both undefended.
        setting: the run's setting; its targets and its resampling's level are not used.
        attacks: the membership attacks of the run, or any that can run where it has none.
        primary: name of the primary attack, where there is one.
    """
    planted, blind = forests
    strict = Resampling(SHUFFLED_LEVEL, max(setting.resampling.resamples, LEAST_RESAMPLES), setting.resampling.seed)
    where = replace(setting, targets=_control_targets(setting.split), resampling=strict)
    found = (
        _guarded("shuffled_membership", lambda: _shuffled_membership(pool, where, attacks)),
        _guarded("planted_leak", lambda: _planted_leak(planted, where, attacks, primary)),
        _guarded("model_free_baseline", lambda: model_free_baseline(blind, where)),
    )
    return found if setting.users is None else tuple(control_about_users(control) for control in found)


def _shuffled_membership(pool: Pool, setting: Setting, attacks: Sequence[NamedAttack]) -> Control:
    """Every attack at chance on shuffled masks: the interval of its AUC contains one half."""
    where = replace(setting, split=_shuffled(setting), phase="control, shuffled membership: ")
    metrics = _aucs(attacks, pool, where)
    wrong = [name for name, auc in metrics.items() if not auc.low <= 0.5 <= auc.high]
    return _control(
        "shuffled_membership",
        f"with membership shuffled, every attack's AUC is 0.5 (level {SHUFFLED_LEVEL:g})",
        metrics,
        f"not at chance on shuffled membership: {', '.join(wrong)}" if wrong else "",
    )


def _shuffled(setting: Setting) -> Split:
    """The split with every user's masks given to another user, all records of one alike; one order for all models."""
    users, member = _users(setting), setting.split.member
    masks = of_users(member, users)
    order = generator(setting.seed, "control", "shuffled").permutation(masks.shape[1])
    return replace(setting.split, member=masks[:, order][:, users])


def _planted_leak(
    planted: CandidateSpec, setting: Setting, attacks: Sequence[NamedAttack], primary: str | None
) -> Control:
    """Models that memorised random labels are caught: the lower end of an AUC exceeds `PLANTED_LEAST_AUC`.

    That of the primary attack where it gave one, else of any attack; and no AUC lies wholly below one half.
    """
    dataset, split = setting.dataset, setting.split
    labels = generator(setting.seed, "control", "planted").integers(0, dataset.n_classes, len(dataset))
    relabelled = replace(dataset, name=f"{dataset.name} with random labels", y=labels.astype(np.int64))
    few = replace(split, member=split.member[:CONTROL_MODELS])
    pool = train_pool(planted, (relabelled, few), setting.store, setting.seed, setting.observe)
    where = replace(setting, dataset=relabelled, split=few, phase="control, planted leak: ")
    quick = [n for n in attacks if n.id == primary or not isinstance(n.attack, SamplingAttack)]  # the others are slow
    metrics = _aucs(quick or attacks, pool, where)
    decisive = [_metric(n.id) for n in quick if n.id == primary and _metric(n.id) in metrics]
    caught = any(metrics[name].low > PLANTED_LEAST_AUC for name in decisive or metrics)
    backwards = [name for name, auc in metrics.items() if auc.high < 0.5]
    reasons = [] if caught else [f"the planted leak was not caught by any of: {', '.join(decisive or metrics)}"]
    reasons += [f"the wrong way round on the planted leak: {', '.join(backwards)}"] if backwards else []
    return _control(
        "planted_leak",
        f"{decisive[0] if decisive else 'some attack'} catches models fitted to random labels: AUC over "
        f"{PLANTED_LEAST_AUC:g}, and none is wholly below 0.5 (level {SHUFFLED_LEVEL:g})",
        metrics,
        "; ".join(reasons),
    )


def model_free_baseline(blind: CandidateSpec, setting: Setting) -> Control:
    """Nothing in features and labels tells who is a member: the interval of every blind AUC contains one half.

    Of each target are asked cross-fitted forests, which see any large difference, and every feature and label by
    itself, which shows a small shift of one that forests miss. Masks drawn by one procedure stand for each other, so
    the first of up to four pairs are enough; but one may have been given where the others were drawn, so each is judged
    by itself and nothing is averaged over targets. Complements are left out: they ask the same questions again.

    The intervals hold all at once (Bonferroni): a fair split fails in at most one of 1000 runs, however many targets
    and features there are.

    Where the data tell users apart, each is one trial: features and labels are the means over a user's records.
    """
    dataset, split = setting.dataset, setting.split
    labels = np.eye(dataset.n_classes, dtype=np.float32)[dataset.y[split.pool]]
    columns = np.hstack([dataset.x[split.pool].reshape(len(labels), -1), labels])
    features = columns.shape[1] - dataset.n_classes
    targets = _first_of_pairs(split)
    told_apart, member = columns, split.member[targets]
    if setting.users is not None:
        told_apart, member = mean_of_users(columns, setting.users), of_users(member, setting.users)
    metrics = {}
    for target, (column, auc) in zip(targets, _most_telling(told_apart, member), strict=True):
        name = f"feature_{column}" if column < features else f"label_{column - features}"
        metrics[_metric(f"{name}/target_{target}")] = auc
    for target in targets:
        metrics[_metric(f"forests/target_{target}")] = _blind_forests(blind, columns, int(target), setting)
    telling = [name for name, auc in metrics.items() if not auc.low <= 0.5 <= auc.high]
    return _control(
        "model_free_baseline",
        f"without any model, members look like non-members: every AUC is 0.5 (level {SHUFFLED_LEVEL:g}, all together)",
        metrics,
        f"members differ from non-members before any model saw them: {', '.join(telling)}" if telling else "",
    )


def _users(setting: Setting) -> Ints:
    """Number of the user of each audit record, (n,): its own where records stand for themselves."""
    return np.arange(len(setting.split.pool)) if setting.users is None else setting.users


def _control_targets(split: Split) -> Ints:
    """The models that controls attack: the released one, or the first pairs of a pool."""
    return np.arange(1 if split.released else min(CONTROL_MODELS, split.models))


def _first_of_pairs(split: Split) -> Ints:
    return _control_targets(split)[::2]


def _most_telling(columns: Float32, member: Bools) -> list[tuple[int, Estimate]]:
    """For each target the column that is most standard deviations from an AUC of 0.5, and its AUC."""
    aucs, deviations = chance_auc(columns, member)
    best = (np.abs(aucs - 0.5) / np.maximum(deviations, _TINY)).argmax(axis=1)
    what = f"AUC that deviates most, of {columns.shape[1]} features and labels"
    return [
        (int(j), _about_chance((auc[j], deviation[j]), len(columns), aucs.size, what))
        for j, auc, deviation in zip(best, aucs, deviations, strict=True)
    ]


def _blind_forests(blind: CandidateSpec, columns: Float32, target: int, setting: Setting) -> Estimate:
    """AUC on one half of the users of forests that were told the membership of the other; mean of both ways.

    Where records stand for themselves, each is a user. Otherwise a user is in one half with all records, as forests
    recognise one by any of them, and is judged by the mean over them.

    Given one half, members and non-members of the other are exchangeable, so each AUC is 0.5 in expectation and has
    the variance of a permutation. Scores of the two halves are never ranked together: a forest that was told of more
    members answers "member" more often, to a half that has fewer, and a common AUC falls under 0.5. The two AUCs are
    not independent (both weigh the same pairs of records; correlations of 0.4 to 0.9 were measured on noise), so their
    mean gets the mean of their deviations, the most that it can have.
    """
    member, users = setting.split.member[target], _users(setting)
    rows, first = _drawn(member, users, generator(setting.seed, "control", "model free", target))
    told = replace(
        subset(setting.dataset, setting.split.pool[rows]),
        name=f"membership of target {target} in {setting.dataset.name}",
        x=columns[rows],
        y=member[rows].astype(np.int64),
        n_classes=2,
        grid=None,
        columns=None,
        class_names=(),
    )
    halves = Split(np.arange(len(rows)), np.arange(0), np.stack([first, ~first]))
    spec = replace(blind, model=f"{blind.model}_{target}")
    pool = train_pool(spec, (told, halves), setting.store, setting.seed, setting.observe)
    found = []
    for k, asked in enumerate(~halves.member):
        answers = pool.logits(k)[asked]
        _, whose = np.unique(users[rows[asked]], return_inverse=True)
        truth = of_users(member[None, rows[asked]], whose)
        found.append(chance_auc(mean_of_users(answers[:, 1:] - answers[:, :1], whose), truth))
    auc, deviation = np.mean(found, axis=0)
    what = "mean over two halves, each judged by forests that were told the other"
    n = len(np.unique(users[rows]))
    return _about_chance((auc.item(), deviation.item()), n, len(_first_of_pairs(setting.split)), what)


def _drawn(member: Bools, users: Ints, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """Audit records for the blind forests, user by user, and which of them are in the first half: both (m,).

    At most `MODEL_FREE_RECORDS`, half of them for members: so many users, and as many records of each as this leaves
    for every user alike. Each half has every other user of either kind.
    """
    truth = of_users(member[None], users)[0]
    kinds = [rng.permutation(np.flatnonzero(kind))[: MODEL_FREE_RECORDS // 2] for kind in (truth, ~truth)]
    chosen = np.concatenate(kinds)
    first = np.concatenate([np.arange(len(kind)) % 2 == 0 for kind in kinds])
    place = np.full(len(truth), -1)
    place[chosen] = np.arange(len(chosen))
    order = rng.permutation(np.flatnonzero(place[users] >= 0))
    order = order[np.argsort(place[users[order]], kind="stable")]
    _, start, count = np.unique(place[users[order]], return_index=True, return_counts=True)
    nth = np.arange(len(order)) - np.repeat(start, count)
    rows = order[nth < MODEL_FREE_RECORDS // len(chosen)]
    return rows, first[place[users[rows]]]


def chance_auc(columns: Float32, member: Bools) -> tuple[Float64, Float64]:
    """AUC of every column, and its standard deviation were membership a random draw of as many records.

    Exact with ties: they share their middle rank, and ranks drawn without replacement have this variance.

    Args:
        columns: float32 (n, d), scores.
        member: bool (t, n), the truth for each target, neither all nor none.

    Returns:
        Both float64 (t, d); the deviation of a column that never varies is 0.
    """
    n = len(columns)
    pairs = member.sum(axis=1) * (~member).sum(axis=1)
    aucs, deviations = np.empty((2, len(member), columns.shape[1]))
    for j, column in enumerate(columns.T):
        _, place, ties = np.unique(column, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(ties) - (ties - 1) / 2)[place] - (n + 1) / 2
        aucs[:, j] = 0.5 + member @ ranks / pairs
        deviations[:, j] = np.sqrt((ranks**2).sum() / (n * (n - 1) * pairs))
    return aucs, deviations


def _about_chance(chance: tuple[float, float], n: int, comparisons: int, what: str) -> Estimate:
    """An AUC with its deviation under chance, as one of `comparisons` intervals of its kind; there are two kinds."""
    from scipy.special import ndtri

    value, deviation = map(float, chance)
    reach = deviation * float(ndtri(1 - (1 - SHUFFLED_LEVEL) / (4 * comparisons)))
    method = f"{what}; normal, with the variance under random membership; Bonferroni over all that was asked"
    return Estimate(value, max(value - reach, 0.0), min(value + reach, 1.0), SHUFFLED_LEVEL, method, n, "records")


def _aucs(attacks: Sequence[NamedAttack], pool: Pool, setting: Setting) -> dict[str, Estimate]:
    """AUC of each attack that can run."""
    metrics = {}
    for named in attacks:
        with suppress(NotApplicable):
            metrics[_metric(named.id)] = auc_metric(run_membership(named, pool, setting), setting.resampling)
    return metrics


def _metric(attack: str) -> str:
    return f"{attack}/auc"


def _guarded(name: str, control: Callable[[], Control]) -> Control:
    try:
        return control()
    except Exception as error:
        return Control(
            id=name, expectation="runs", status="error", reason=f"{type(error).__name__}: {error}", metrics={}
        )


def _control(name: str, expectation: str, metrics: dict[str, Estimate], reason: str) -> Control:
    if not metrics:
        return Control(id=name, expectation=expectation, status="error", reason="no attack could run", metrics={})
    return Control(
        id=name,
        expectation=expectation,
        status="failed" if reason else "passed",
        reason=reason,
        metrics=metrics,
    )
