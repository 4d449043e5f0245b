"""The folder of a model that was logged with MLflow: what it says, what it holds, what can be read without MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ...harness.errors import UsageError, shortened, told
from ...harness.trust import Trust
from ...harness.types import Dataset
from ._answers import AnswerForm, Ask
from ._frames import by_columns

_DESCRIPTION = "MLmodel"
_TEXTS = frozenset((".json", ".txt", ".yaml"))
"""Asked for after the files that are more likely to be what runs."""

_REGISTERED = "registered_model_meta"
"""Written by a download of a registered model."""


def flavors_of(folder: Path, source: str) -> Mapping[str, Any]:
    """The ways in which MLflow could load the model: name to settings.

    Raises:
        UsageError: the folder holds no model.
    """
    try:
        return dict(yaml.safe_load((folder / _DESCRIPTION).read_text())["flavors"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{source}: is no MLflow model ({told(error)})") from error


def columns_of(folder: Path, source: str) -> tuple[str | int, ...] | None:
    """Names of the columns in the model's signature, or their numbers; None where it has none or is about tensors.

    Raises:
        UsageError: the signature is none that MLflow writes.
    """
    description = yaml.safe_load((folder / _DESCRIPTION).read_text())
    inputs = (description.get("signature") or {}).get("inputs")
    if not inputs:
        return None
    try:
        listed = json.loads(inputs)
        if any(one["type"] == "tensor" for one in listed):
            return None
        return tuple(one.get("name", place) for place, one in enumerate(listed))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{source}: has a signature that cannot be read ({told(error)})") from error


def sha256_of_folder(folder: Path) -> str:
    """Digest of the names and bytes of all files; the same for a model whichever name it was fetched by."""
    digest = hashlib.sha256()
    for path in _files(folder):
        if path.name != _REGISTERED:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def require_all(folder: Path, source: str, trust: Trust) -> None:
    """Ask for trust in every file of the model, the description last: it says which loader is called.

    A text of requirements counts as well: a description may say that it is the pickle to read.

    Raises:
        UsageError: trust was not given, or the description names a file outside the folder.
    """
    for name in _names(flavors_of(folder, source)):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UsageError(f"{source}: names a file outside its folder: {shortened(name)}")
    asked = [path for path in _files(folder) if path.name != _REGISTERED]
    for path in sorted(asked, key=lambda path: (path.name == _DESCRIPTION, path.suffix in _TEXTS)):
        name = f"{source}: {path.relative_to(folder).as_posix()}"
        trust.require(path, "MLflow's loaders run code that such a file can hold", name)


def _names(settings: Any) -> Iterator[str]:
    """Every text of nested settings but `uri`, which says where a file was before it was copied here."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from () if name == "uri" else _names(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _names(value)


def read_here(folder: Path, form: AnswerForm, dataset: Dataset, trust: Trust) -> Ask | None:
    """How a model in a format that holds no code is asked; None where it is of another.

    Only the file that the description names counts, as MLflow would find it, whatever else lies in the folder.

    Raises:
        UsageError: the file cannot be read, or holds more than the format's safe part and trust was not given.
    """
    flavors = flavors_of(folder, str(folder))
    if path := _skops_file(folder, flavors):
        from ._sklearn_files import skops_estimator

        return by_estimator(skops_estimator(path, trust), form, dataset, path.name)
    if path := _keras_file(folder, flavors):
        from ._keras_files import by_network, keras_network

        return by_network(keras_network(path, trust))
    if path := _file(folder, _named(flavors, "onnx", "data")):
        from ._onnx_files import by_onnx

        return by_onnx(path, dataset)
    return None


def by_estimator(estimator: Any, form: AnswerForm, dataset: Dataset, source: str) -> Ask:
    """How a fitted estimator is asked: for probabilities, or for labels where it has none or they are wanted.

    Raises:
        UsageError: its classes or its columns are not those of the data.
    """
    from ._sklearn_files import names_of, probabilities_of

    if form != "labels" and hasattr(estimator, "predict_proba"):
        return probabilities_of(estimator, dataset, source)
    return by_columns(estimator.predict, names_of(estimator), dataset, source)


def _skops_file(folder: Path, flavors: Mapping[str, Any]) -> Path | None:
    skops = _settings(flavors, "sklearn").get("serialization_format") == "skops"
    return _file(folder, _named(flavors, "sklearn", "pickled_model")) if skops else None


def _keras_file(folder: Path, flavors: Mapping[str, Any]) -> Path | None:
    """MLflow has two flavours for Keras; both name a folder `data` and look for `model.keras` in it."""
    settings = _settings(flavors, "tensorflow")
    if settings.get("model_type") == "keras" and settings.get("save_format", "h5") != "h5":
        data = _named(flavors, "tensorflow", "data")
    elif not settings and not _settings(flavors, "keras").get("save_exported_model"):
        data = _named(flavors, "keras", "data")
    else:
        return None
    return None if data is None else _file(folder, f"{data}/model.keras")


def _named(flavors: Mapping[str, Any], flavor: str, field: str) -> str | None:
    """What a flavour names in `field`; None where it names nothing, or where `python_function` would serve another."""
    named, served = _settings(flavors, flavor).get(field), _settings(flavors, "python_function")
    modules = {None, f"mlflow.{flavor}", *(("mlflow.keras",) if flavor == "tensorflow" else ())}
    places = {served.get("model_path", named), served.get("data", named)}
    return named if isinstance(named, str) and served.get("loader_module") in modules and places == {named} else None


def _settings(flavors: Mapping[str, Any], flavor: str) -> Mapping[str, Any]:
    settings = flavors.get(flavor)
    return settings if isinstance(settings, Mapping) else {}


def _file(folder: Path, name: str | None) -> Path | None:
    """A file of the folder; None where there is none, or it lies outside."""
    path = folder if name is None else (folder / name).resolve()
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
