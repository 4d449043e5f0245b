"""The interfaces that components fill. A component is a frozen dataclass whose fields are its parameters.

Members that carry data are read-only properties, so that a frozen dataclass field or a class constant fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from .trust import Trust
from .types import (
    Answers,
    Bools,
    Candidates,
    Dataset,
    DPMechanism,
    Family,
    Float32,
    Float64,
    GradientNoise,
    Guarantee,
    Ints,
    ObservedSampling,
    PrivacyClaim,
    Reconstruction,
    Scores,
    ThreatModel,
    TrainingData,
)

Measure = Callable[[Float64, Ints], Float64]
"""A signal of membership: (probabilities (n, classes), labels (n,)) -> one number a record (n,) or several (n, k)."""


class Model(Protocol):
    """A trained classifier."""

    def logits(self, x: Float32) -> Float32:
        """Raw scores for records (n, *shape): float32 (n, classes), softmax of which are the probabilities.

        A backend that only knows probabilities returns their logarithms, clipped at 1e-7.
        """

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` with respect to `x[i]`: float32 (n, *shape).

        Raises:
            NotApplicable: the model has no input gradients; the message says why.
        """

    def save(self, folder: Path) -> None:
        """Write the model into an existing empty folder, without pickle."""


class Recipe(Protocol):
    """What to train: architecture and optimiser settings of one framework, with no defence in it."""

    @property
    def framework(self) -> str:
        """`torch`, `keras`, `sklearn`, or `python` for any code of the user's."""

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> Model:
        """Train one model on `rows` of `data`; the same seed gives the same model on the same CPU."""

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> Model:
        """Read back what `Model.save` wrote, for records of `shape`."""


Task = Literal["classification", "regression"]


def task_of(recipe: Recipe) -> Task:
    """What the models of a recipe predict: numbers on `TrainingData.grid` where it has `task = "regression"`."""
    task: Task = getattr(recipe, "task", "classification")
    return task


def prepares_records(recipe: Recipe) -> bool:
    """Whether a recipe takes the cells of the user's file and prepares them itself, on the members that it is given."""
    return bool(getattr(recipe, "prepares_records", False))


def keeps_models(recipe: Recipe) -> bool:
    """Whether `load` gives back a model that can be asked about new records."""
    return bool(getattr(recipe, "keeps_models", True))


@runtime_checkable
class CheckedRecipe(Recipe, Protocol):
    """A recipe that can say before training that it cannot train on such records: its network does not fit them."""

    def check(self, few: TrainingData) -> None:
        """Try what can be tried quickly, such as building a network once, and throw it away.

        Called while a run is planned, before anything is trained. It leaves no trace: no later model depends on it, nor
        does a global generator of torch. Passing promises nothing; `fit` still refuses what it meets.

        Args:
            few: some records that one model would be trained on, as it would get them, at most 64 of at most 4 classes.

        Raises:
            UsageError: no model can be trained on such records; one line in the words that `fit` would have.
        """


@runtime_checkable
class PoolRecipe(Recipe, Protocol):
    """A recipe that trains many models as one program."""

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[Model]:
        """Yield one model for each entry of `rows` and `seeds`, in order, as they are finished.

        Model i is the one that `fit(data, rows[i], seeds[i])` gives, byte for byte on a CPU, whatever else is trained
        beside it.
        """


@runtime_checkable
class PrivatePoolRecipe(PoolRecipe, Protocol):
    """A recipe that trains many models by DP-SGD as one program."""

    @property
    def epochs(self) -> int:
        """Expected passes over the training rows."""

    @property
    def batch_size(self) -> int:
        """Expected number of records in a batch."""

    def fit_private_pool(
        self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int], noise: GradientNoise
    ) -> Iterator[tuple[Model, ObservedSampling]]:
        """Yield one privately trained model for each entry of `rows` and `seeds` with what was observed, in order.

        Every step divides by the expected batch size, never by the drawn one. `rows` are equally long.
        """


@dataclass(frozen=True)
class Trained:
    """One model as a defence left it.

    `mechanism` is what a DP-SGD run did, from which the harness computes its claim; or the claim itself, computed from
    what training did by the defence whose theorem it is; or None where the training promises nothing formal.
    """

    model: Model
    mechanism: DPMechanism | PrivacyClaim | None


class Defense(Protocol):
    """A defence: trains models, changes what they answer, or both."""

    @property
    def guarantee(self) -> Guarantee:
        """`none`, `heuristic` or `formal`: what the defence itself promises."""

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """None when the defence can train `recipe` on so many records, else the reason why not."""

    def training_parameters(self) -> Mapping[str, object]:
        """Parameters that change the trained weights; empty for plain training.

        Two defences with equal training parameters share trained models, so an output defence costs no training.
        """

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one `Trained` for each entry of `rows` and `seeds`, in order.

        All models of a block are asked for at once so that a trainer may train them as one program.
        """

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """What the deployed model answers: float64 (n, classes) from the undefended probabilities (n, classes).

        An attacker who holds the weights is not stopped by this: gradients are those of the model itself.
        """


@runtime_checkable
class DataDefense(Defense, Protocol):
    """A defence that needs something of the data besides records to train on."""

    def supports_data(self, public: int, users: bool) -> str | None:
        """None when it can train on such data, else the reason why not.

        Args:
            public: records that are members of no model.
            users: whether the data tell whose each record is.
        """


@runtime_checkable
class CheckedDefense(Defense, Protocol):
    """A defence that has to look at the network to say whether it can train it."""

    def check(self, recipe: Recipe, few: TrainingData) -> None:
        """As `CheckedRecipe.check`, for `recipe` behind this defence, which `supports` it.

        Raises:
            UsageError: the network cannot be trained by this defence.
            NotApplicable: the same.
        """


class References(Protocol):
    """Models an attacker trained himself, each on a half that he knows, through the same defence."""

    @property
    def member(self) -> Bools:
        """Bool (m, n): which candidate each reference model trained on."""

    def __len__(self) -> int: ...

    def probabilities(self, reference: int) -> Float64:
        """Answers of one reference model on all candidates: float64 (n, classes). Loaded when asked for."""

    def measured(self, measure: Measure) -> Float32:
        """`measure` of every reference's answers on all candidates: float32 (m, n) or (m, n, k).

        Worked out once for each function and candidate and kept for the other targets and attacks, so `measure` must be
        a plain function at the top of a module.
        """


class View(Protocol):
    """The target as the threat model lets an attack see it. Counts queries and refuses what is not allowed."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value a feature may take."""

    @property
    def queries(self) -> int:
        """Records evaluated so far, gradients included."""

    def predict(self, x: Float32) -> Float64:
        """Probabilities as deployed: float64 (n, classes). One query a record.

        Raises:
            AccessDenied: the threat model gives labels only, or the query budget is spent.
        """

    def predict_labels(self, x: Float32) -> Ints:
        """Predicted labels as deployed: int64 (n,). One query a record."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape). One query a record."""


@dataclass(frozen=True, eq=False)
class KnownMembers:
    """Membership told to an attack whose threat model knows members; these candidates may not be scored."""

    ids: Ints
    member: Bools


@dataclass(frozen=True, eq=False)
class MembershipContext:
    """All that a membership attack gets beside the view and the candidates; None where not granted."""

    auxiliary: Candidates
    references: References | None
    known: KnownMembers | None
    seed: int


@dataclass(frozen=True, eq=False)
class InversionContext:
    """All that an inversion attack gets beside the view and the classes to reconstruct."""

    auxiliary: Candidates
    seed: int


class Attack(Protocol):
    """What every attack declares."""

    @property
    def family(self) -> Family:
        """What kind of leak it looks for."""

    @property
    def implementation(self) -> str:
        """Who wrote the attack: `privassay` or the library with its class."""

    @property
    def threat_model(self) -> ThreatModel:
        """What the attack needs; the harness grants this and nothing more."""


@runtime_checkable
class ClassAttack(Attack, Protocol):
    """An attack that rests on classes. It does not run where the target is a number (`Dataset.grid`).

    Attacks without this member run there too: on a grid the loss of the true class stands for the squared error.
    """

    @property
    def needs_classes(self) -> str:
        """Why it does not apply to a regressor, in one line."""


@runtime_checkable
class MembershipAttack(Attack, Protocol):
    """Tells members from non-members."""

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score candidates; higher = member. Every candidate whose membership was not told gets a score.

        An attack with a `max_records` scores so many of them, see `SamplingAttack`.

        Raises:
            NotApplicable: the attack cannot run on this target; the message says why.
        """


@runtime_checkable
class SamplingAttack(MembershipAttack, Protocol):
    """A membership attack that is too slow for every candidate: it scores a random few."""

    @property
    def max_records(self) -> int:
        """How many candidates are scored (all, where there are fewer): drawn by the seed, before any query."""


@runtime_checkable
class InversionAttack(Attack, Protocol):
    """Reconstructs a typical record of each class."""

    def reconstruct(self, view: View, labels: Ints, context: InversionContext) -> Reconstruction:
        """Return one sample for each of `labels` (classes,).

        Raises:
            NotApplicable: the attack cannot run on this target; the message says why.
        """


class ReleasedModel(Protocol):
    """A model that somebody else trained, behind whatever stands before its answers."""

    @property
    def answers(self) -> Answers:
        """Whether it answers with probabilities or with labels only."""

    def predict(self, x: Float32) -> Float64:
        """Answers on records (n, *shape): float64 (n, classes), rows at least 0 with sum 1; one-hot for labels.

        Raises:
            NotApplicable: these records cannot be asked about; the message says why.
            UsageError: what came back is no answer.
            InfrastructureError: no answer came.
        """


@dataclass(frozen=True, eq=False)
class RecordedReference:
    """Answers of a reference model that somebody else trained.

    Attributes:
        name: where they come from, e.g. a file's name.
        probabilities: float64 (n, classes), on every record of the data set.
        member: bool (n,), the records that it trained on.
    """

    name: str
    probabilities: Float64
    member: Bools


@dataclass(frozen=True, eq=False)
class Released:
    """A released model, opened and checked against the data.

    Attributes:
        model: the model.
        source: where it is, in words that hold no secret: a file's name, an address without credentials.
        sha256: digest of what its answers depend on (a file, the stored answers, the code); empty where they cannot be
            known, as with an endpoint.
        references: answers of reference models that came with it.
        training_records: how many records it trained on, where its owner says; None where not.
        notes: what a reader of its results must know, in words.
        batch_size: records that one question to it should hold, where many small ones cost more than few large ones.
    """

    model: ReleasedModel
    source: str
    sha256: str
    references: tuple[RecordedReference, ...] = ()
    training_records: int | None = None
    notes: tuple[str, ...] = ()
    batch_size: int = 64


class TargetSource(Protocol):
    """Where a released model comes from."""

    def open(self, dataset: Dataset, trust: Trust) -> Released:
        """Find the model, check that it answers for records of `dataset` in its classes, and return it.

        Args:
            dataset: the records, with `released_member`.
            trust: asked before anything is read that can run code, such as a pickle.

        Raises:
            UsageError: it is not there, its classes or its input shape are others, or it needs trust.
            InfrastructureError: it does not answer.
        """


@runtime_checkable
class TargetWithData(TargetSource, Protocol):
    """A released model that brings its own records: a table of its answers."""

    def load(self) -> Dataset:
        """Read, check and return the records."""


class DatasetSource(Protocol):
    """Where records come from."""

    def load(self) -> Dataset:
        """Read, check and return the records."""
