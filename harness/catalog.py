"""What can be named in an experiment: one line a component, loaded only when named.

A component is a frozen dataclass; its fields are the parameters a YAML file may set. Third parties add their own
through entry points in the groups `privassay.attacks`, `privassay.defenses`, `privassay.models`, `privassay.datasets`
and `privassay.targets` (`name = "package.module:Class"`); a name that is taken is an error that names both.

A field of type `Path` is a path relative to the experiment file's folder, one of type `UserFunction` is written
`module:function`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from pydantic import ConfigDict, create_model

from .errors import UsageError
from .types import Identity
from .user_code import UserFunction
from .yamlfile import validate

Kind = Literal["attacks", "defenses", "models", "datasets", "targets"]
KINDS: tuple[Kind, ...] = ("attacks", "defenses", "models", "datasets", "targets")

BUILT_IN: dict[Kind, dict[str, str]] = {
    "attacks": {
        "art_black_box": "attacks.membership.art_black_box:ArtBlackBox",
        "art_black_box_knows_members": "attacks.membership.art_black_box:ArtBlackBoxKnowsMembers",
        "art_boundary": "attacks.membership.art_boundary:ArtBoundary",
        "art_miface": "attacks.inversion.art_miface:ArtMIFace",
        "art_rule_based": "attacks.membership.art_rule_based:ArtRuleBased",
        "attack_p": "attacks.membership.attack_p:AttackP",
        "attack_r": "attacks.membership.attack_r:AttackR",
        "base": "attacks.membership.base:BASE",
        "confidence": "attacks.membership.confidence:Confidence",
        "difficulty_calibration": "attacks.membership.calibration:DifficultyCalibration",
        "entropy": "attacks.membership.entropy:Entropy",
        "lira": "attacks.membership.lira:LiRA",
        "loss": "attacks.membership.loss:Loss",
        "margin": "attacks.membership.margin:Margin",
        "modified_entropy": "attacks.membership.modified_entropy:ModifiedEntropy",
        "quantile_regression": "attacks.membership.quantile_regression:QuantileRegression",
        "rmia": "attacks.membership.rmia:RMIA",
        "stacked": "attacks.membership.stacked:Stacked",
        "student_t": "attacks.membership.student_t:StudentT",
    },
    "defenses": {
        "bolt_on": "defenses.bolt_on:BoltOn",
        "class_labels": "defenses.class_labels:ClassLabels",
        "convex_output_perturbation": "defenses.convex_output_perturbation:ConvexOutputPerturbation",
        "distillation": "defenses.distillation:Distillation",
        "dp_sgd": "defenses.dp_sgd:DPSGD",
        "dropout": "defenses.dropout:Dropout",
        "early_stopping": "defenses.early_stopping:EarlyStopping",
        "gaussian_noise": "defenses.gaussian_noise:GaussianNoise",
        "high_confidence": "defenses.high_confidence:HighConfidence",
        "k_anonymity": "defenses.k_anonymity:KAnonymity",
        "l2": "defenses.l2:L2",
        "label_smoothing": "defenses.label_smoothing:LabelSmoothing",
        "laplace_noise": "defenses.laplace_noise:LaplaceNoise",
        "mixup": "defenses.mixup:Mixup",
        "none": "defenses.none:NoDefense",
        "objective_perturbation": "defenses.objective_perturbation:ObjectivePerturbation",
        "output_perturbation": "defenses.output_perturbation:OutputPerturbation",
        "pate": "defenses.pate:PATE",
        "relaxloss": "defenses.relaxloss:RelaxLoss",
        "reverse_sigmoid": "defenses.reverse_sigmoid:ReverseSigmoid",
        "rounded": "defenses.rounded:Rounded",
        "top_k": "defenses.top_k:TopK",
    },
    "models": {
        "keras_cnn": "models.keras_cnn:KerasCNN",
        "keras_mlp": "models.keras_mlp:KerasMLP",
        "keras_module": "models.keras_module:KerasModule",
        "python": "models.python_training:PythonTraining",
        "sklearn_estimator": "models.sklearn_estimator:SklearnEstimator",
        "sklearn_hist_gradient_boosting": "models.sklearn_hist_gradient_boosting:SklearnHistGradientBoosting",
        "sklearn_logistic_regression": "models.sklearn_logistic_regression:SklearnLogisticRegression",
        "sklearn_mlp": "models.sklearn_mlp:SklearnMLP",
        "sklearn_random_forest": "models.sklearn_random_forest:SklearnRandomForest",
        "sklearn_random_forest_regressor": "models.sklearn_random_forest_regressor:SklearnRandomForestRegressor",
        "sklearn_ridge": "models.sklearn_ridge:SklearnRidge",
        "sklearn_svm": "models.sklearn_svm:SklearnSVM",
        "torch_cnn": "models.torch_cnn:TorchCNN",
        "torch_mlp": "models.torch_mlp:TorchMLP",
        "torch_mlp_regressor": "models.torch_mlp_regressor:TorchMLPRegressor",
        "torch_module": "models.torch_module:TorchModule",
    },
    "datasets": {
        "adult": "experiments.adult:Adult",
        "cifar10": "experiments.cifar10:CIFAR10",
        "diabetes": "experiments.diabetes:Diabetes",
        "digits": "experiments.digits:Digits",
        "fashion_mnist": "experiments.fashion_mnist:FashionMNIST",
        "german_credit": "experiments.german_credit:GermanCredit",
        "image_folder": "experiments.image_folder:ImageFolder",
        "location30": "experiments.location30:Location30",
        "mnist": "experiments.mnist:MNIST",
        "nursery": "experiments.nursery:Nursery",
        "purchase100": "experiments.purchase100:Purchase100",
        "released_digits": "experiments.released_demo:ReleasedDigits",
        "table": "experiments.table:Table",
        "texas100": "experiments.texas100:Texas100",
    },
    "targets": {
        "endpoint": "models.released.endpoint:Endpoint",
        "file": "models.released.file:File",
        "mlflow": "models.released.mlflow:MLflow",
        "predictions": "models.released.predictions:Predictions",
        "python": "models.released.python:Python",
        "served": "models.released.served:Served",
    },
}


@cache
def targets(kind: Kind) -> dict[str, str]:
    """Every component of a kind: name to `module:Class`, the installed third-party ones included.

    Raises:
        UsageError: an entry point takes a name that exists.
    """
    found = {name: f"privassay.{target}" for name, target in BUILT_IN[kind].items()}
    for point in entry_points(group=f"privassay.{kind}"):
        if point.name in found:
            raise UsageError(
                f"entry point {point.value} in group privassay.{kind}: the name {point.name!r} is taken by "
                f"{found[point.name]}"
            )
        found[point.name] = point.value
    return dict(sorted(found.items()))


def experiments() -> dict[str, str]:
    """Experiment files that come with the package: name to path."""
    folder = Path(__file__).resolve().parents[1] / "experiments"
    return {path.stem: str(path) for path in sorted(folder.glob("*.yaml"))}


def resolve(kind: Kind, name: str, source: str) -> type[Any]:
    """The class behind a name.

    Args:
        kind: what is looked for.
        name: as written in the experiment.
        source: where it was written, for the error.

    Raises:
        UsageError: there is no such component, or its module cannot be imported.
    """
    known = targets(kind)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise UsageError(f"{source}: unknown {kind[:-1]} {name!r}{hint} (known: {', '.join(known)})")
    module, _, attribute = known[name].partition(":")
    try:
        component: type[Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{source}: {kind[:-1]} {name!r} cannot be loaded from {known[name]}: {error}") from error
    return component


def build(kind: Kind, name: str, parameters: Mapping[str, object], source: str, folder: Path = Path()) -> Any:
    """Make a component from the parameters of an experiment file.

    Args:
        kind: what is made.
        name: its name in the catalogue.
        parameters: its fields by name, as written.
        source: where they were written, for errors.
        folder: folder of the experiment file, which paths and modules are looked for in.

    Raises:
        UsageError: unknown component or parameter, wrong type, or a value that the component refuses.
    """
    component = resolve(kind, name, source)
    hints = get_type_hints(component)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(component):
        default = field.default if field.default is not dataclasses.MISSING else ...
        fields[field.name] = (_as_written(hints[field.name]), default)
    schema = create_model(component.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    checked = validate(schema, dict(parameters), source)
    values = {name: _placed(getattr(checked, name), hints[name], folder) for name in fields}
    try:
        return component(**values)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def _as_written(hint: Any) -> Any:
    """The type of a field as YAML has it: a function of the user's is text there."""
    if hint == UserFunction:
        return str
    return str | None if hint == UserFunction | None else hint


def _placed(value: Any, hint: Any, folder: Path) -> Any:
    """A field's value with paths and functions placed in the folder of the experiment file."""
    if isinstance(value, str) and UserFunction in (hint, *get_args(hint)):
        return UserFunction(value, folder)
    return folder / value if isinstance(value, Path) else value


def identity(component: Any, name: str) -> Identity:
    """What a component is: catalogue name, every parameter, and the digest of the code it runs.

    Functions of the user's stand in it with the digest of the code behind them, files by name: their folder is not part
    of it.
    """
    parameters = {field.name: _named(getattr(component, field.name)) for field in dataclasses.fields(component)}
    return Identity(name, parameters, _code_sha256(type(component).__module__))


def _named(value: Any) -> Any:
    if isinstance(value, UserFunction):
        return {"function": value.name, "sha256": value.sha256}
    if isinstance(value, Path):
        return value.name
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


@cache
def _code_sha256(module: str) -> str:
    """SHA-256 over a component's source: its module, for our own components with all modules beside it.

    Ours share code with their neighbours (`models/_torch.py`); a third party's file may lie in a folder of strangers.
    """
    file = getattr(importlib.import_module(module), "__file__", None)
    if file is None:
        return "unknown"
    ours = module.startswith("privassay.")
    digest = hashlib.sha256()
    for path in sorted(Path(file).parent.glob("*.py")) if ours else [Path(file)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
