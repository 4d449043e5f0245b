"""Early stopping: training ends when records held out from it are no longer predicted better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..harness.checks import open_unit, positive
from ..harness.protocols import Recipe
from ._loops import loops_for
from ._regularised import Regularised


@dataclass(frozen=True)
class EarlyStopping(Regularised):
    """Plain descent until the loss on held-out records has not improved for `patience` epochs; best weights kept.

    A heuristic (Prechelt 1998, "Early stopping - but when?", criterion UP with strips of one epoch, counted since the
    best one). The held-out records are part of the model's own rows. No step follows their gradients, but they choose
    the weights, so they have been used and count as members: an audit that left them out would describe a smaller
    training set than the one that was asked for. Records are held out at random, one by one, also where several are
    about one user. A Keras model's own loss decides, without its penalties; best weights include the statistics of
    normalisation layers.

    Attributes:
        validation: share of the model's rows that is held out, between 0 and 1; at least one record.
        patience: epochs without a smaller loss before training stops, at least 1; the recipe's `epochs` is the most.
    """

    title: ClassVar[str] = "early stopping"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    validation: float = 0.1
    patience: int = 5

    def __post_init__(self) -> None:
        open_unit(validation=self.validation)
        positive(patience=self.patience)

    def held_out(self, records: int) -> int:
        """How many of so many records are held out."""
        return max(1, round(self.validation * records))

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support recipes as all of these defences do, with a record left to train on."""
        if self.held_out(records) >= records:
            return f"early stopping of a {recipe.framework} recipe on {records} records leaves none to train on"
        return super().supports(recipe, records)

    def loop(self, recipe: Any, seed: int) -> Any:
        """Return plain descent that stops early."""
        return loops_for(recipe).early_stopping(self, recipe, seed)
