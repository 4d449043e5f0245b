"""A released model in an MLflow registry or run.

Inside this module `mlflow` is the library: imports are absolute.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.checks import one_of, positive, require
from ...harness.errors import InfrastructureError, UsageError, told
from ...harness.protocols import Released
from ...harness.trust import Trust
from ...harness.types import Dataset
from ._answers import FORMS, AnswerForm, Ask, AskedModel, Reading, look_at
from ._class_names import columns_of_answers
from ._frames import Framed, by_arrays, frames_for, notes_of
from ._mlflow_folder import by_estimator, columns_of, flavors_of, read_here, require_all, sha256_of_folder

_REFUSED = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "NOT_FOUND", "PERMISSION_DENIED")
"""Errors of MLflow that are the user's to mend."""

_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # by default a registry that is not there is asked for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # which would stand among the lines of the run
}


@dataclass(frozen=True)
class MLflow:
    """A model that was logged with MLflow.

    Three kinds need no `--trust`, because they are read here and not by MLflow: scikit-learn models in skops files,
    Keras models in `.keras` files and ONNX graphs, on the conditions of `File`. (MLflow itself takes the types that a
    skops file may build from the model's own description, so that file could run code.) For everything else trust is
    asked for every file of the model: pickles, code, weights, and the description that says which loader is called.

    A model with a signature of columns, or an estimator that was fitted on named ones, is asked with the cells of the
    file in these columns, texts included.

    Attributes:
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/MODEL_ID` or `runs:/RUN/PATH`.
        tracking_uri: where the registry and the runs are; None: MLflow's own default.
        answers: what the numbers are: `probabilities`, `logits` or `labels`. A model that gives only labels is taken
            as that, and the notes say so.
        batch_size: most records in one call, at least 1.
        training_records: how many records the model trained on, where its owner says; at least 1.
        classes: names of the classes in the order of the columns that answers have, where these have no names, or as
            labels that are numbers count them; empty: the order of the data's classes, which is `values`, or sorted,
            and puts `positive` last.
    """

    model: str
    tracking_uri: str | None = None
    answers: AnswerForm = "probabilities"
    batch_size: int = 1024
    training_records: int | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        allowed = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN/PATH"
        written = re.fullmatch(r"models:/[^/@]+([@/][^/@]+)?|runs:/[^/]+/.+", self.model)
        require(written is not None, "model", self.model, allowed)
        one_of(FORMS, answers=self.answers)
        positive(batch_size=self.batch_size)
        if self.training_records is not None:
            positive(training_records=self.training_records)

    def open(self, dataset: Dataset, trust: Trust) -> Released:
        """Fetch the model, read it and ask it about two records, or more where these leave its form open.

        Raises:
            UsageError: there is no such model, it needs trust, it cannot be read, or its answers are none for these
                data.
            InfrastructureError: the registry does not answer.
        """
        folder = self._fetched()
        ask = read_here(folder, self.answers, dataset, trust) or self._read_by_mlflow(folder, dataset, trust)
        names = columns_of(folder, self.model)
        if names is not None and not isinstance(ask, Framed):  # it takes arrays, and the signature says of what
            ask = by_arrays(ask, names, dataset, self.model)
        first = self._first(ask, dataset)
        labels_only = self.answers != "labels" and first.dtype.kind in "iubUO" and first.shape in ((2,), (2, 1))
        form: AnswerForm = "labels" if labels_only else self.answers
        reading = Reading(form, dataset.n_classes, self.model, dataset.class_names, self.classes)
        notes = ((f"{self.model} gives labels only",) if labels_only else ()) + notes_of(ask)
        model = AskedModel(ask, reading, self.batch_size)
        look_at(model, dataset)
        return Released(model, self.model, sha256_of_folder(folder), (), self.training_records, notes)

    def _fetched(self) -> Path:
        """The model's folder, a copy that lasts as long as the process: some models read files when they are asked."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        copy = tempfile.mkdtemp(prefix="privassay-mlflow-")
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        uri = self.tracking_uri
        try:
            with _in_the_environment(_PATIENCE):
                where = self.model if uri is None else _resolved(self.model, uri)
                return Path(download_artifacts(where, dst_path=copy, tracking_uri=uri, registry_uri=uri))
        except MlflowException as error:
            kind = UsageError if error.error_code in _REFUSED else InfrastructureError
            raise kind(f"{self.model}: cannot be fetched ({told(error)})") from error
        except Exception as error:  # databases, stores of artifacts and HTTP have no common base
            raise InfrastructureError(f"{self.model}: cannot be fetched ({told(error)})") from error

    def _read_by_mlflow(self, folder: Path, dataset: Dataset, trust: Trust) -> Ask:
        require_all(folder, self.model, trust)
        try:
            return _loaded(folder, self.answers, dataset)
        except UsageError:
            raise
        except Exception as error:  # a model's loader may raise anything
            raise UsageError(f"{self.model}: cannot be read ({told(error)})") from error

    def _first(self, ask: Ask, dataset: Dataset) -> np.ndarray[Any, Any]:
        """Answers about the first two records, as they came."""
        try:
            raw = ask(dataset.x[:2].copy())
            columns = columns_of_answers(raw)
            return np.asarray(raw if columns is None else columns.table)
        except UsageError:
            raise
        except Exception as error:  # whatever the model does
            raise UsageError(f"{self.model}: failed on records of shape {dataset.shape} ({told(error)})") from error


@contextmanager
def _in_the_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not set, for as long as this lasts."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _resolved(model: str, uri: str) -> str:
    """Where the files of a model lie: MLflow would look names up at its global address, whatever it is told."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    if model.startswith("runs:/"):
        run, _, name = model.removeprefix("runs:/").partition("/")
        outputs = client.get_run(run).outputs
        logged = [client.get_logged_model(output.model_id) for output in (outputs.model_outputs if outputs else ())]
        # Older versions of MLflow keep a model among the files of its run, where the address as it is leads.
        return next((found.artifact_location for found in logged if found.name == name), model)
    while model.startswith("models:/"):
        name, mark, rest = model.removeprefix("models:/").partition("@" if "@" in model else "/")
        if not mark:
            model = client.get_logged_model(name).artifact_location
        else:
            version = client.get_model_version_by_alias(name, rest).version if mark == "@" else rest
            model = client.get_model_version_download_uri(name, version)
    return model


def _loaded(folder: Path, form: AnswerForm, dataset: Dataset) -> Ask:
    """How a model is asked that MLflow loads, in the flavour that says most."""
    where, flavors = str(folder), flavors_of(folder, str(folder))
    if "sklearn" in flavors:
        import mlflow.sklearn

        return by_estimator(mlflow.sklearn.load_model(where), form, dataset, where)
    if "pytorch" in flavors:
        import mlflow.pytorch

        from ._torch_files import by_module

        return by_module(mlflow.pytorch.load_model(where, map_location="cpu").eval())
    import mlflow.pyfunc

    return _by_pyfunc(mlflow.pyfunc.load_model(where), dataset, where)


def _by_pyfunc(model: Any, dataset: Dataset, source: str) -> Ask:
    """How a model of any flavour is asked: by records, or by columns where its signature has them.

    Raises:
        UsageError: its columns are not those of the data.
    """
    schema = model.metadata.get_input_schema()
    if schema is None or schema.is_tensor_spec():
        return model.predict  # type: ignore[no-any-return]
    kinds = dict(zip(schema.input_names(), schema.numpy_types(), strict=True))

    def ask(frame: Any) -> Any:
        import pandas as pd  # type: ignore[import-untyped]

        return model.predict(pd.DataFrame({name: _as(frame[name].to_numpy(), kind) for name, kind in kinds.items()}))

    return Framed(ask, frames_for(tuple(kinds), dataset, source))


def _as(column: np.ndarray[Any, Any], kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A column in the type that the signature asks for, unless that would change its values more than by rounding.

    Then MLflow says what it thinks of the type.
    """
    try:
        cast = column.astype(kind)
    except (TypeError, ValueError):
        return column
    return cast if kind.kind in "Uf" or np.array_equal(cast, column) else column
