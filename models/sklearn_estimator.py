"""A scikit-learn classifier or pipeline of the user's."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..harness.errors import UsageError
from ..harness.types import Float32, Ints, TrainingData
from ..harness.user_code import UserFunction
from ._sklearn import FILE, SklearnModel, SklearnRecipe, fitted, flat
from ._sklearn_types import TRUSTED
from ._user import one_line

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin


_SILENT = "has no predict_proba: CalibratedClassifierCV gives it one"


class UserModel(SklearnModel):
    """A fitted classifier of the user's."""

    no_gradient: ClassVar[str] = (
        "a scikit-learn classifier of the user's has no input gradients: scikit-learn gives none"
    )

    def save(self, folder: Path) -> None:
        """Write `model.skops`, if it could be read back.

        Raises:
            UsageError: skops cannot write the classifier, or it holds types that are not trusted; they are named.
        """
        import skops.io

        path, kind = folder / FILE, type(self.estimator).__name__
        try:
            super().save(folder)
        except Exception as error:  # RecursionError, UnsupportedTypeException, AttributeError, ...: what skops meets
            path.unlink(missing_ok=True)
            raise UsageError(f"{kind}: skops cannot save it ({type(error).__name__}: {error})") from error
        strange = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if strange:
            path.unlink()
            raise UsageError(
                f"{kind}: cannot be saved, for it holds types that are not trusted: {', '.join(strange)}"
                "; a model of your own classes is trained by `component: python` with a training function"
            )


@dataclass(frozen=True)
class SklearnEstimator(SklearnRecipe):
    """A classifier that the user's code builds, fitted by its own `fit` on flattened records.

    It is cloned before it is fitted, so that no two models share it. Every `random_state` in its parameters, nested
    steps included, is set to the seed; a splitter object among the parameters must be seeded by `build`. Every `n_jobs`
    that is set becomes 1, for pools are fitted on all cores. Early stopping on held-out rows takes members out of
    training, which the audit does not see.

    Attributes:
        build: returns an unfitted classifier with `predict_proba`; called as `build(seed=...)` where it has a parameter
            of that name, else as `build()`.
    """

    build: UserFunction

    model: ClassVar[type[SklearnModel]] = UserModel
    trusted: ClassVar[tuple[str, ...]] = TRUSTED

    def untrained(self, seed: int) -> ClassifierMixin:
        """The classifier before fitting.

        Raises:
            UsageError: the function cannot be imported or fails, or what it returns is no scikit-learn classifier.
        """
        from sklearn.base import BaseEstimator, clone, is_classifier

        build = self.build.load()
        try:
            arguments = {"seed": seed} if "seed" in inspect.signature(build).parameters else {}
            made = build(**arguments)
        except Exception as error:  # whatever the user's code does
            how = "called as build(seed=...) or build()"
            raise UsageError(f"{self.build.name}: {how}: {one_line(error, self.build)}") from error
        if not (isinstance(made, BaseEstimator) and is_classifier(made)):
            raise UsageError(
                f"{self.build.name}: returned a {type(made).__name__}, must return a scikit-learn classifier"
            )
        return seeded(clone(made), seed)

    def check(self, few: TrainingData) -> None:
        """Save the classifier as the function builds it, and again fitted to a few records: it then holds more types.

        A fit that fails, or answers that are no probabilities, prove nothing, since the records are few: neighbours,
        folds or covariances may want more.

        Raises:
            UsageError: as `untrained` or `UserModel.save`, or what was fitted has no `predict_proba`.
        """
        estimator = self.untrained(seed=0)
        _require_saved(UserModel(estimator, few.n_classes))
        try:
            with warnings.catch_warnings(action="ignore"):  # of what is said about so few records, nothing matters
                fitted(estimator, few, np.arange(len(few.y)))
        except Exception:  # whatever the user's code does
            return
        if not hasattr(estimator, "predict_proba"):
            raise self._refused(estimator, _SILENT)
        _require_saved(UserModel(estimator, few.n_classes))

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> SklearnModel:
        """Fit on `rows` of `data`, on one core where the classifier lets us decide.

        Raises:
            UsageError: as `untrained`; the rows hold one class only; the fit fails; or what was fitted has no
                `predict_proba`, other classes than the rows, or answers that are no probabilities.
        """
        estimator = self.untrained(seed)
        try:
            fitted(estimator, data, rows)
        except UsageError:
            raise
        except Exception as error:  # whatever the user's code does
            raise UsageError(f"{self.build.name}: its fit failed: {one_line(error, self.build)}") from error
        reason = objection(estimator, data.x[rows[:5]], data.y[rows], data.n_classes)
        if reason is not None:
            raise self._refused(estimator, reason)
        return UserModel(estimator, data.n_classes)

    def _refused(self, estimator: Any, reason: str) -> UsageError:
        return UsageError(f"{self.build.name}: {type(estimator).__name__} {reason}")


def _require_saved(model: UserModel) -> None:
    """Raise `UsageError` if `model` could not be saved."""
    with tempfile.TemporaryDirectory(prefix="privassay-") as folder:
        model.save(Path(folder))


def seeded(estimator: Any, seed: int) -> Any:
    """Set every `random_state` of `estimator` and of what it is made of, and every `n_jobs` to 1 that is not None.

    Where `n_jobs` is None one core is used already, and some estimators warn when it is touched.
    """
    parameters = estimator.get_params(deep=True)
    own = {name: name.rpartition("__")[2] for name in parameters}
    states = {name: seed for name in parameters if own[name] == "random_state"}
    jobs = {name: 1 for name, value in parameters.items() if own[name] == "n_jobs" and value is not None}
    return estimator.set_params(**states, **jobs)


def objection(estimator: Any, x: Float32, y: Ints, n_classes: int) -> str | None:
    """Why a fitted estimator cannot be asked, or None: its method, its classes, its answers on some records `x`."""
    if not hasattr(estimator, "predict_proba"):
        return _SILENT
    classes = np.asarray(getattr(estimator, "classes_", ()))
    expected = np.unique(y)
    known = classes.dtype.kind in "iu" and len(set(classes.tolist())) == len(classes)
    if not known or not set(expected.tolist()) <= set(classes.tolist()) <= set(range(n_classes)):
        return f"has classes_ {classes.tolist()}: must be labels below {n_classes}, with all that it was fitted on"
    answers = np.asarray(estimator.predict_proba(flat(x)))
    if answers.shape != (len(x), len(classes)):
        return f"has predict_proba of shape {answers.shape} for {len(x)} records: must be {(len(x), len(classes))}"
    if not (answers >= 0).all() or not np.allclose(answers.sum(axis=1), 1, atol=1e-4):
        return "has a predict_proba whose answers are no probabilities: must be at least 0 with sum 1"
    return None
