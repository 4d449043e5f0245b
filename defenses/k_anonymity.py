"""k-anonymity: training on records of which at least k look the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.protocols import Recipe, Trained, prepares_records
from ..harness.types import Guarantee, Ints, TrainingData
from ._plain import PlainAnswers, PlainTraining
from ._supported import require_supported


@dataclass(frozen=True)
class KAnonymity(PlainAnswers, PlainTraining):
    """Plain training on k-anonymised records (Goldsteen et al. 2021, arXiv:2007.13086); every feature counts.

    A decision tree with at least k training records in each leaf is fitted to the labels; then all records of a leaf
    become the same one, while each keeps its label. Every model anonymises its own training records. The audit asks
    about the original ones.

    A heuristic: k-anonymity is a property of the records, and no epsilon follows. It hides what tells a record from the
    others of its leaf. The labels are not hidden, and the tree is fitted to the members: a record may decide about a
    split, or lend its values to its leaf. Adaptive attacks: references that are anonymised and trained alike, asked
    about the original records; attribute inference for those who share their leaf. Answers are those of the model, so
    the predicted class is its own.

    Written here because ai-privacy-toolkit 0.2.1, to which ART's authors moved the method, asks for scikit-learn up to
    1.1.3 and numpy 1.24.2 and fails on categorical columns with newer ones; on numbers both give the same records.

    Deviations from the paper: the tree is fitted to the labels, not to the predictions of a first model, and each
    column is treated by itself, so a category that is spread over several columns may come out as none. Records are
    counted, not users. A tree on large images takes long: shapes are flattened, and it looks at every pixel.

    Attributes:
        k: training records that look the same at least, 1 or more; 1 is plain training.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    k: int = 5

    def __post_init__(self) -> None:
        positive(k=self.k)

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support every recipe that trains on at least k records and does not take cells of the user's file."""
        if self.k > 1 and prepares_records(recipe):
            return (
                f"k={self.k}: this {recipe.framework} recipe takes the cells of the user's file, and k-anonymity makes "
                "up records that stand for none"
            )
        if records < self.k:
            return f"k={self.k}: the {recipe.framework} recipe has {records} training records, fewer than k"
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """`k`, unless it is 1."""
        return {"k": self.k} if self.k > 1 else {}

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one model for each entry of `rows` and `seeds`, in order, each from its own anonymised records.

        Raises:
            NotApplicable: `supports` has a reason against it.
        """
        require_supported(self, recipe, rows)
        if self.k > 1 and rows:
            data, rows = self.anonymised(data, rows, seeds)
        yield from super().train(recipe, data, rows, seeds)

    def anonymised(
        self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> tuple[TrainingData, list[Ints]]:
        """The records that each model trains on, in one array for all of them, with the rows of each.

        A record that several members became stands there once, and its row several times: row i of a model is what
        became of its row i in `data`.
        """
        from ._k_anonymity_sklearn import anonymised

        parts = [anonymised(data.x[own], data.y[own], self.k, seed) for own, seed in zip(rows, seeds, strict=True)]
        starts = np.cumsum([0, *(len(y) for _, y, _ in parts)])
        shown = TrainingData(
            np.concatenate([x for x, _, _ in parts]),
            np.concatenate([y for _, y, _ in parts]),
            data.n_classes,
            data.bounds,
            grid=data.grid,
        )
        return shown, [start + place for start, (_, _, place) in zip(starts[:-1], parts, strict=True)]
