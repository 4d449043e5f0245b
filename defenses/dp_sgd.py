"""DP-SGD: clipped per-record gradients with Gaussian noise, one framework half for each kind of recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import ClassVar, TypeGuard, TypeVar, cast

import numpy as np

from ..harness.accounting import noise_multiplier_for
from ..harness.checks import non_negative, one_of, open_unit, positive, require
from ..harness.errors import NotApplicable, UsageError
from ..harness.protocols import PrivatePoolRecipe, Recipe, Trained, task_of
from ..harness.types import (
    DPMechanism,
    GradientNoise,
    Guarantee,
    Ints,
    ObservedSampling,
    TrainingData,
    Unit,
)
from ._plain import PlainAnswers
from ._supported import require_supported

# For recipes without a private trainer of their own. Each module has
# `train(recipe, data, rows, seed, settings) -> Trained` and `check(recipe, few)`; imported when first needed.
_HALVES = {"torch": "._dpsgd_torch", "keras": "._dpsgd_keras"}
_BY_USER = ("torch",)  # frameworks whose half clips the gradients of users
_OVERRIDES = ("epochs", "batch_size", "learning_rate", "momentum")

RecipeT = TypeVar("RecipeT")


@dataclass(frozen=True)
class DPSGD(PlainAnswers):
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133); parameters are named as in Opacus.

    Exactly one of `target_epsilon` and `noise_multiplier` is given. The claim is recomputed from the steps
    and the sampling that training observed, not from these settings. `epochs`, `batch_size`,
    `learning_rate` and `momentum` replace the recipe's own, since private training wants other ones; None
    keeps the recipe's.

    With `unit: user` a user with all of that user's records is what joins a batch by one coin, and what is clipped is
    the mean of the gradients of the user's records: user-level sampling, DP-SGD-ULS of Charles et al. (2024,
    arXiv:2407.07737), with Poisson batches. The mean, not the sum, so that with one record a user it is record-level
    DP-SGD and `max_grad_norm` keeps its scale. The noisy sum over users is divided by the expected number of users.
    Wherever records are counted below, it is then users.

    Attributes:
        target_epsilon: epsilon that the noise is calibrated for, greater than 0; None if the noise is given.
        noise_multiplier: standard deviation of the noise over the clipping norm, greater than 0.
        max_grad_norm: L2 norm to which each record's gradient is clipped, greater than 0.
        target_delta: delta of the claim, below one over the number of training records.
        epochs: passes over the training records (expected ones under Poisson sampling), at least 1.
        batch_size: expected number of records in a batch, at least 1.
        learning_rate: step size on the noisy mean gradient, greater than 0.
        momentum: 0 or more and below 1.
        unit: whose gradient is clipped and whose presence the claim is about: `record`, or `user` as the data tell
            whose the records are (torch only).
    """

    guarantee: ClassVar[Guarantee] = "formal"

    target_epsilon: float | None = 8.0
    noise_multiplier: float | None = None
    max_grad_norm: float = 1.0
    target_delta: float = 1e-5
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    unit: Unit = "record"

    def __post_init__(self) -> None:
        if (self.target_epsilon is None) == (self.noise_multiplier is None):
            raise UsageError(
                f"target_epsilon={self.target_epsilon!r}, noise_multiplier={self.noise_multiplier!r}:"
                " exactly one must be given, the other null"
            )
        one_of(("record", "user"), unit=self.unit)
        open_unit(target_delta=self.target_delta)
        given = {name: value for name, value in vars(self).items() if value is not None and name != "unit"}
        momentum = given.pop("momentum", 0.0)
        positive(**given)
        non_negative(momentum=momentum)
        require(momentum < 1, "momentum", momentum, "< 1")

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support the frameworks that have a private trainer, with a delta that means something for `records`.

        Whether the data tell users, and how many, is seen only when training begins.
        """
        if task_of(recipe) == "regression":
            return f"DP-SGD trains classifiers: not this {recipe.framework} regressor"
        if recipe.framework not in _HALVES:
            return f"DP-SGD is not available for {recipe.framework} recipes"
        if self.unit == "user" and recipe.framework not in _BY_USER:
            return f"unit='user': DP-SGD on users is not available for {recipe.framework} recipes"
        if getattr(recipe, "train", None) is not None:
            return f"DP-SGD cannot run inside a training function of the user's; {recipe.framework} trains without one"
        return self._delta_too_large(records) if self.unit == "record" else None

    def supports_data(self, public: int, users: bool) -> str | None:  # noqa: ARG002 - public records are not used
        """Support users where the data tell them apart."""
        if self.unit == "user" and not users:
            return "unit='user': the data do not tell whose each record is"
        return None

    def check(self, recipe: Recipe, few: TrainingData) -> None:
        """Try whether every record has a gradient of its own in the recipe's network.

        Raises:
            NotApplicable: the Keras network can bound no record's part.
            UsageError: the same of a torch module; or the recipe does not take this defence's settings.
        """
        private = self.applied_to(recipe)
        if not self._as_pool(private):
            import_module(_HALVES[recipe.framework], __package__).check(private, few)

    def training_parameters(self) -> Mapping[str, object]:
        """Every parameter changes the weights."""
        return dataclasses.asdict(self)

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one privately trained model for each entry of `rows` and `seeds`, in order.

        Raises:
            NotApplicable: `supports` has a reason against it, or the data do not tell the users asked for.
            UsageError: the target cannot be met.
        """
        require_supported(self, recipe, rows)
        self._require_users(data, rows)
        if self._as_pool(recipe):
            yield from self._train_pool(self.applied_to(recipe), data, rows, seeds)
            return
        half = import_module(_HALVES[recipe.framework], __package__)
        for own_rows, seed in zip(rows, seeds, strict=True):
            yield cast(Trained, half.train(recipe, data, own_rows, seed, self))

    def _as_pool(self, recipe: Recipe) -> TypeGuard[PrivatePoolRecipe]:
        """Whether the recipe has a private trainer of its own, of networks that it knows."""
        return isinstance(recipe, PrivatePoolRecipe) and self.unit == "record"

    def _train_pool(
        self, recipe: PrivatePoolRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Let the recipe train runs of equally many rows as one program, by Poisson batches."""
        for records, group in groupby(zip(rows, seeds, strict=True), key=lambda pair: len(pair[0])):
            alike = list(group)
            rate = min(1.0, recipe.batch_size / records)  # a batch size beyond the records: all join every batch
            steps = math.ceil(recipe.epochs / rate)
            multiplier = self.noise_for(ObservedSampling("poisson", rate, steps, steps * rate))
            noise = GradientNoise(multiplier, self.max_grad_norm, rate, steps)
            trained = recipe.fit_private_pool(data, [own for own, _ in alike], [seed for _, seed in alike], noise)
            for model, observed in trained:
                mechanism = DPMechanism(multiplier, self.max_grad_norm, observed, self.target_delta)
                yield Trained(model, mechanism)

    def _require_users(self, data: TrainingData, rows: Sequence[Ints]) -> None:
        """Refuse where the users of a model cannot be protected, if that is asked for."""
        if self.unit == "record":
            return
        if data.units is None:
            raise NotApplicable("unit='user': the data do not tell whose each record is")
        for own_rows in rows:
            reason = self._delta_too_large(len(np.unique(data.units[own_rows])))
            if reason is not None:
                raise NotApplicable(reason)

    def _delta_too_large(self, units: int) -> str | None:
        if self.target_delta * units >= 1:  # at delta = 1/n the definition allows publishing one record in full
            return f"target_delta={self.target_delta:g}: must be below 1 / {units}, one over the training {self.unit}s"
        return None

    def applied_to(self, recipe: RecipeT) -> RecipeT:
        """Return the recipe with this defence's optimiser settings in place of its own."""
        own = {name: getattr(self, name) for name in _OVERRIDES if getattr(self, name) is not None}
        return dataclasses.replace(recipe, **own)  # type: ignore[type-var]

    def noise_for(self, planned: ObservedSampling) -> float:
        """Return the noise multiplier: the given one, or the one calibrated for the planned sampling."""
        if self.noise_multiplier is not None:
            return self.noise_multiplier
        assert self.target_epsilon is not None
        return noise_multiplier_for(self.target_epsilon, self.target_delta, planned)
