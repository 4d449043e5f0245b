"""What a model-inversion attack gained over what anyone could draw from public data.

An inverted image that equals the public mean of its class is not a leak, however good it looks (Carlini et al.;
Balle et al. 2022 make the same point for reconstruction). Every number here is therefore set against the mean of
auxiliary records of the class: records of the same population that no target trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canaries import ordinary
from .errors import NotApplicable
from .intervals import clopper_pearson
from .protocols import Model, Recipe
from .seeds import generator
from .stats import Resampling, crossed_mean
from .types import Dataset, Estimate, Float32, Float64, Ints, Split, TrainingData

_JUDGE_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Judge:
    """An independent classifier that names the class of a reconstruction, with its own accuracy."""

    model: Model
    accuracy: Estimate


def train_judge(recipe: Recipe, dataset: Dataset, seed: int, level: float) -> Judge:
    """Fit the judge on 80 % of all records, members included, and measure it on the rest.

    It sees more data than any target and should have another architecture, so that it does not share their errors.
    Canaries are left out: their labels are wrong.
    """
    rows = np.flatnonzero(ordinary(dataset, np.arange(len(dataset))))
    order = rows[generator(seed, "judge").permutation(len(rows))]
    cut = int(_JUDGE_SHARE * len(order))
    data = TrainingData(dataset.x, dataset.y, dataset.n_classes, dataset.bounds)
    model = recipe.fit(data, np.sort(order[:cut]), seed)
    test = np.sort(order[cut:])
    right = int((model.logits(dataset.x[test]).argmax(axis=1) == dataset.y[test]).sum())
    return Judge(model, clopper_pearson(right, len(test), level))


def auxiliary_means(dataset: Dataset, split: Split) -> tuple[Ints, Float32]:
    """Classes that can be judged (c,) and the mean of their auxiliary records, float32 (c, *shape).

    A class can be judged that has auxiliary records, and members and non-members in every model.

    Raises:
        NotApplicable: there is none.
    """
    y, x, pool_y = dataset.y[split.auxiliary], dataset.x[split.auxiliary], dataset.y[split.pool]
    sides = (split.member, ~split.member)
    labels = np.array(
        [k for k in np.unique(y) if all((side & (pool_y == k)).any(axis=1).all() for side in sides)], dtype=np.int64
    )
    if not len(labels):
        raise NotApplicable("no class has auxiliary records, and members and non-members in every model")
    return labels, np.stack([x[y == label].mean(axis=0) for label in labels]).astype(np.float32)


def inversion_metrics(
    samples: Float32, targets: Ints, setting: tuple[Dataset, Split], judge: Judge, resampling: Resampling
) -> dict[str, Estimate]:
    """Measure reconstructions of every auxiliary class from every target.

    Args:
        samples: float32 (t, c, *shape), in the order of `auxiliary_means`' classes.
        targets: int64 (t,), model numbers.
        setting: the data set and who trained on what.
        judge: independent classifier.
        resampling: level, repetitions and seed of the bootstrap over models and classes.

    Returns:
        `evaluation_accuracy`: share of reconstructions that the judge assigns to their class;
        `baseline_accuracy`: the same for the auxiliary means;
        `lift`: the difference, -1 to 1: what the attack adds to public knowledge;
        `nearest_member_gain`: 1 - d(reconstruction, nearest member) / d(auxiliary mean, nearest member), at most 1,
        above 0 where the reconstruction is closer to a training record of the class than the public mean is;
        `member_specificity`: d(reconstruction, nearest non-member) / d(reconstruction, nearest member) - 1, both
        among equally many pool records of the class; about 0 unless individual members shine through;
        `evaluation_classifier_accuracy`: the judge's own, on records it was not fitted on.
        Distances d are Euclidean.
    """
    dataset, split = setting
    labels, baseline = auxiliary_means(dataset, split)
    named = _named(judge, samples.reshape(-1, *dataset.shape)).reshape(samples.shape[:2]) == labels
    baseline_named = np.broadcast_to(_named(judge, baseline) == labels, named.shape)
    to_member, to_other, baseline_to_member = _distances(samples, targets, dataset, split)

    def mean(values: Float64) -> Estimate:
        return crossed_mean(values, np.ones(values.shape), targets, resampling, unit="classes")

    return {
        "evaluation_accuracy": mean(named.astype(np.float64)),
        "baseline_accuracy": mean(baseline_named.astype(np.float64)),
        "lift": mean(named.astype(np.float64) - baseline_named),
        "nearest_member_gain": mean(1 - to_member / baseline_to_member),
        "member_specificity": mean(to_other / to_member - 1),
        "evaluation_classifier_accuracy": judge.accuracy,
    }


def _named(judge: Judge, x: Float32) -> Ints:
    return np.asarray(judge.model.logits(x).argmax(axis=1), dtype=np.int64)


def _distances(samples: Float32, targets: Ints, dataset: Dataset, split: Split) -> tuple[Float64, Float64, Float64]:
    """Distance to the nearest member, to the nearest non-member, and of the baseline to the nearest member: (t, c).

    Nearest is taken over equally many members and non-members, so that neither is nearer by number alone.
    """
    labels, baseline = auxiliary_means(dataset, split)
    shape = (len(targets), len(labels))
    to_member, to_other, of_baseline = np.empty(shape), np.empty(shape), np.empty(shape)
    pool_y = dataset.y[split.pool]
    for row, target in enumerate(targets):
        for column, label in enumerate(labels):
            members = split.pool[(pool_y == label) & split.member[target]]
            others = split.pool[(pool_y == label) & ~split.member[target]]
            count = min(len(members), len(others))
            inside, outside = dataset.x[_spread(members, count)], dataset.x[_spread(others, count)]
            to_member[row, column] = _nearest(samples[row, column], inside)
            to_other[row, column] = _nearest(samples[row, column], outside)
            of_baseline[row, column] = _nearest(baseline[column], inside)
    return to_member, to_other, of_baseline


def _spread(rows: Ints, count: int) -> Ints:
    """`count` of the rows, evenly spaced: neighbours in a file are often alike (the same writer, the same day)."""
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _nearest(sample: Float32, records: Float32) -> float:
    """Euclidean distance to the nearest record, at least 1e-9 so that ratios stay finite."""
    differences = (records - sample).reshape(len(records), -1).astype(np.float64)
    return max(float(np.sqrt((differences**2).sum(axis=1).min())), 1e-9)
