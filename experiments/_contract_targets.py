"""Released models for the contract table: real small files, a real registry, a real server, real experiment files."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..harness import plan
from ..harness.events import ignore
from ..harness.pool import Pool
from ..harness.released import released_pool
from ..harness.store import Store
from ..harness.types import Dataset, Float64, Ints, Split
from ._contract_server import serving
from ._contract_user_code import CLASSES, fitted, records, released, released_member

USER_CODE = "privassay.experiments._contract_user_code"
RECORDS = {
    "component": "table",
    "path": "records.npz",
    "target": "y",
    "features": ["x"],
    "member": "member",
    "ranges": {"x": [0.0, 1.0]},
}
REFERENCES = {
    "reference": "sklearn_logistic_regression/none",
    "models": {"sklearn_logistic_regression": {}},
    "defenses": {"none": {}},
    "pool": {"models": 4, "records": 120},
}
Sections = Mapping[str, Any]


def _predictions(folder: Path) -> Sections:
    _write_answers(folder / "answers.csv", released().predict_proba(_flat()), released_member())
    return {"path": "answers.csv"}


def _predictions_with_references(folder: Path) -> Sections:
    (folder / "references").mkdir()
    asked, half = np.flatnonzero(released_member() >= 0), np.array([], dtype=np.int64)
    rng = np.random.default_rng(0)
    for k in range(4):  # in complementary pairs, as ours are
        half = np.setdiff1d(asked, half) if k % 2 else np.sort(rng.permutation(asked)[: len(asked) // 2])
        member = np.zeros(len(_flat()), dtype=np.int8)
        member[half] = 1
        _write_answers(folder / "references" / f"{k}.csv", fitted(half).predict_proba(_flat()), member)
    return {**_predictions(folder), "references": "references"}


def _predictions_of_labels(folder: Path) -> Sections:
    _write_answers(folder / "answers.csv", released().predict(_flat())[:, None], released_member(), ["said"])
    return {"path": "answers.csv", "answers": "labels", "outputs": "said"}


def _python(folder: Path) -> Sections:  # noqa: ARG001 - the function needs no file
    return {"predict": f"{USER_CODE}:predict"}


def _python_labels(folder: Path) -> Sections:  # noqa: ARG001 - the function needs no file
    return {"predict": f"{USER_CODE}:predict_labels", "answers": "labels"}


def _file(folder: Path) -> Sections:
    import skops.io

    skops.io.dump(released(), folder / "model.skops")
    return {"path": "model.skops"}


def _served(folder: Path) -> Sections:  # noqa: ARG001 - the server needs no file
    return {"command": ["{python}", "-m", "privassay.experiments._contract_server", "{port}"]}


def _mlflow(folder: Path) -> Sections:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import mlflow

    before, uri = mlflow.get_tracking_uri(), f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    try:
        experiment = mlflow.create_experiment("own", artifact_location=(folder / "files").as_uri())
        with warnings.catch_warnings(), mlflow.start_run(experiment_id=experiment):
            warnings.simplefilter("ignore")
            mlflow.sklearn.log_model(
                released(), name="model", registered_model_name="digits", pip_requirements=["scikit-learn"]
            )
    finally:
        mlflow.set_tracking_uri(before)
    return {"model": "models:/digits/1", "tracking_uri": uri}


TARGETS: Mapping[str, tuple[str, Callable[[Path], Sections] | None, Sections]] = {
    "predictions": ("predictions", _predictions, {}),
    "predictions, with references": ("predictions", _predictions_with_references, {}),
    "predictions, labels only": ("predictions", _predictions_of_labels, {}),
    "python": ("python", _python, {"data": RECORDS}),
    "python, references trained": ("python", _python, {"data": RECORDS, **REFERENCES}),
    "python, labels only": ("python", _python_labels, {"data": RECORDS}),
    "file": ("file", _file, {"data": RECORDS}),
    "mlflow": ("mlflow", _mlflow, {"data": RECORDS}),
    "endpoint": ("endpoint", None, {"data": RECORDS}),
    "served": ("served", _served, {"data": RECORDS}),
}
"""Component; what writes its files and gives its parameters (None: the address of a server); the sections beside it."""


@contextmanager
def opened(name: str, folder: Path) -> Iterator[tuple[Pool, Dataset, Split]]:
    """One of `TARGETS` as the harness opens it from an experiment file in `folder`, which is empty."""
    component, written, beside = TARGETS[name]
    if "data" in beside:
        data = records()
        np.savez(folder / "records.npz", x=data.x, y=data.y, member=released_member())
    with serving() as url:
        parameters = {"url": url} if written is None else written(folder)
        content = {
            "name": "contract",
            "targets": {component: {"component": component, **parameters}},
            "attacks": {"loss": {}},
            "pool": {"records": 120},
            **beside,
        }
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        found = plan.make(path)
        data_and_split = found.dataset, found.split
        pool = released_pool(found.targets[0], data_and_split, Store(folder / "store"), 0, ignore)
        yield pool, found.dataset, found.split


def _flat() -> Float64:
    x = records().x
    return x.reshape(len(x), -1).astype(np.float64)


def _write_answers(
    path: Path, answers: Float64 | Ints, member: np.ndarray[Any, Any], columns: list[str] | None = None
) -> None:
    names = [f"p_{k}" for k in range(CLASSES)] if columns is None else columns
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*names, "label", "member"])
        for answer, label, flag in zip(answers.tolist(), records().y.tolist(), member.tolist(), strict=True):
            rows.writerow([*answer, label, "" if flag < 0 else flag])
