"""What the scikit-learn recipes share: the model border, fitting, and storage through skops instead of pickle."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np

from ..harness.errors import NotApplicable, UsageError
from ..harness.types import Float32, Float64, Ints, TrainingData
from ._processes import fit_in_order

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

_Estimator = TypeVar("_Estimator")

CLIP = 1e-7
"""Probabilities are clipped to [CLIP, 1 - CLIP] before their logarithm is taken."""

FILE = "model.skops"


class SklearnModel:
    """A fitted scikit-learn classifier. Records of any shape are flattened.

    Attributes:
        no_gradient: why its probabilities have no gradient with respect to a record; a subclass says so, or has a
            `class_gradient` of its own.
    """

    no_gradient: ClassVar[str] = ""

    def __init__(self, estimator: ClassifierMixin, n_classes: int) -> None:
        """Wrap `estimator`, whose `classes_` may lack some of the `n_classes` labels."""
        self.estimator = estimator
        self.n_classes = n_classes

    def probabilities(self, x: Float32) -> Float64:
        """float64 (n, classes); 0 for a class that was not in the training rows."""
        probabilities = np.zeros((len(x), self.n_classes))
        probabilities[:, self.estimator.classes_] = self.estimator.predict_proba(flat(x))
        return probabilities

    def logits(self, x: Float32) -> Float32:
        """Logarithms of the clipped probabilities: float32 (n, classes)."""
        return np.log(np.clip(self.probabilities(x), CLIP, 1 - CLIP)).astype(np.float32)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Raise `NotApplicable` with the reason."""
        raise NotApplicable(self.no_gradient)

    def save(self, folder: Path) -> None:
        """Write `model.skops`: arrays and a JSON schema in a zip file.

        The bytes differ from one call to the next, because skops names its parts by memory address.
        """
        import skops.io

        skops.io.dump(self.estimator, folder / FILE, compression=zipfile.ZIP_DEFLATED)


class SklearnRecipe(ABC):
    """A recipe of scikit-learn; a subclass is a frozen dataclass of the estimator's parameters, under their own names.

    Attributes:
        model: what a fitted estimator becomes.
        trusted: full names of the types in its file, beside those that skops itself holds to be safe.
    """

    framework: ClassVar[str] = "sklearn"
    model: ClassVar[type[SklearnModel]]
    trusted: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def untrained(self, seed: int) -> ClassifierMixin:
        """The estimator before fitting; it uses one core, and every random draw of its fit comes from `seed`."""

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> SklearnModel:
        """Fit on `rows` of `data`, on one core; the same seed gives the same model.

        Raises:
            UsageError: the rows hold one class only.
        """
        return self.model(fitted(self.untrained(seed), data, rows), data.n_classes)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[SklearnModel]:
        """Yield one model for each entry of `rows` and `seeds`, in order; large pools are fitted on all cores.

        Raises:
            UsageError: as `fit`.
        """
        return fit_in_order(self, data, rows, seeds)

    def load(
        self,
        folder: Path,
        shape: tuple[int, ...],  # noqa: ARG002 - the file knows it
        n_classes: int,
    ) -> SklearnModel:
        """Read back what `save` wrote.

        Raises:
            UsageError: the file cannot be read or holds something else.
        """
        return self.model(load_estimator(folder, type(self.untrained(0)), self.trusted), n_classes)


def flat(x: Float32) -> Float32:
    """Records (n, *shape) as rows: float32 (n, features)."""
    return x.reshape(len(x), -1)


def fitted(estimator: _Estimator, data: TrainingData, rows: Ints) -> _Estimator:
    """Fit `estimator` in place on `rows` of `data`, flattened, and return it.

    On one thread: sums of a product spread over threads depend on their number, and bytes must not.

    Raises:
        UsageError: the rows hold one class only.
    """
    from threadpoolctl import threadpool_limits

    x, y = flat(data.x[rows]), data.y[rows]
    if len(np.unique(y)) < 2:
        raise UsageError(f"{len(rows)} training rows hold classes {y[:1].tolist()}: must hold at least two")
    with threadpool_limits(limits=1):
        cast(Any, estimator).fit(x, y)
    return estimator


def load_estimator(folder: Path, expected: type[_Estimator], trusted: tuple[str, ...]) -> _Estimator:
    """Read an estimator back, building no object of a type that is not listed.

    Args:
        folder: where `SklearnModel.save` wrote.
        expected: class of the estimator.
        trusted: full names of the types allowed beside those that skops itself holds to be safe.

    Raises:
        UsageError: the file cannot be read, asks for another type or holds another estimator.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = folder / FILE
    try:
        estimator = skops.io.load(path, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        asked = ", ".join(sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted)))
        raise UsageError(f"{path}: holds types that are not trusted: {asked}") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    if type(estimator) is not expected:
        raise UsageError(f"{path}: holds a {type(estimator).__name__}, expected a {expected.__name__}")
    return estimator
