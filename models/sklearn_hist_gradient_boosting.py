"""Histogram gradient boosting of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..harness.checks import non_negative, positive, require
from ._sklearn import SklearnModel, SklearnRecipe
from ._sklearn_types import BOOSTING

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


class HistGradientBoostingModel(SklearnModel):
    """Fitted boosted trees."""

    no_gradient: ClassVar[str] = "boosted trees have no input gradients: their probabilities are steps"


@dataclass(frozen=True)
class SklearnHistGradientBoosting(SklearnRecipe):
    """Trees boosted on binned features (as LightGBM: Ke et al. 2017), every row a training row.

    There is no early stopping: it would take a part of the members out of training, unseen by the audit, which holds
    all rows to be members. The fit draws nothing (bins of more than 200,000 records are found on a sample of them), so
    the seed changes nothing.

    Attributes:
        learning_rate: factor of each tree, > 0.
        max_iter: rounds of boosting, at least 1; with more than two classes each grows a tree for every class.
        max_leaf_nodes: leaves of a tree, at least 2, or None for no limit.
        max_depth: greatest depth, at least 1, or None for no limit.
        min_samples_leaf: records a leaf must hold, at least 1.
        l2_regularization: strength of the L2 penalty on the values of leaves, >= 0.
    """

    learning_rate: float = 0.1
    max_iter: int = 100
    max_leaf_nodes: int | None = 31
    max_depth: int | None = None
    min_samples_leaf: int = 20
    l2_regularization: float = 0.0

    model: ClassVar[type[SklearnModel]] = HistGradientBoostingModel
    trusted: ClassVar[tuple[str, ...]] = BOOSTING

    def __post_init__(self) -> None:
        positive(learning_rate=self.learning_rate, max_iter=self.max_iter, min_samples_leaf=self.min_samples_leaf)
        non_negative(l2_regularization=self.l2_regularization)
        leaves = self.max_leaf_nodes
        require(leaves is None or leaves >= 2, "max_leaf_nodes", leaves, ">= 2")
        if self.max_depth is not None:
            positive(max_depth=self.max_depth)

    def untrained(self, seed: int) -> HistGradientBoostingClassifier:
        """The trees before boosting."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            max_leaf_nodes=self.max_leaf_nodes,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            l2_regularization=self.l2_regularization,
            early_stopping=False,
            random_state=seed,
        )
