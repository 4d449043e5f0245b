"""What can be named in an experiment: one line a component, loaded only when named.

A component is a frozen dataclass; its fields are the parameters a YAML file may set. Third parties add their own
through entry points in the groups `privassay.attacks`, `privassay.defenses`, `privassay.models` and
`privassay.datasets` (`name = "package.module:Class"`); a name that is taken is an error that names both.
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
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, create_model

from .errors import UsageError
from .types import Identity
from .yamlfile import validate

Kind = Literal["attacks", "defenses", "models", "datasets"]
KINDS: tuple[Kind, ...] = ("attacks", "defenses", "models", "datasets")

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
        "dp_sgd": "defenses.dp_sgd:DPSGD",
        "none": "defenses.none:NoDefense",
        "output_perturbation": "defenses.output_perturbation:OutputPerturbation",
    },
    "models": {
        "keras_mlp": "models.keras_mlp:KerasMLP",
        "sklearn_logistic_regression": "models.sklearn_logistic_regression:SklearnLogisticRegression",
        "sklearn_random_forest": "models.sklearn_random_forest:SklearnRandomForest",
        "torch_cnn": "models.torch_cnn:TorchCNN",
        "torch_mlp": "models.torch_mlp:TorchMLP",
    },
    "datasets": {
        "digits": "experiments.digits:Digits",
        "location30": "experiments.location30:Location30",
        "mnist": "experiments.mnist:MNIST",
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


def build(kind: Kind, name: str, parameters: Mapping[str, object], source: str) -> Any:
    """Make a component from the parameters of an experiment file.

    Raises:
        UsageError: unknown component or parameter, wrong type, or a value that the component refuses.
    """
    component = resolve(kind, name, source)
    hints = get_type_hints(component)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(component):
        default = field.default if field.default is not dataclasses.MISSING else ...
        fields[field.name] = (hints[field.name], default)
    schema = create_model(component.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    checked = validate(schema, dict(parameters), source)
    values = {name: getattr(checked, name) for name in fields}
    try:
        return component(**values)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def identity(component: Any, name: str) -> Identity:
    """What a component is: catalogue name, every parameter, and the digest of the code it runs."""
    return Identity(name, dataclasses.asdict(component), _code_sha256(type(component).__module__))


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
