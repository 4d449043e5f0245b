"""Evidence into MLflow: one parent run for an evaluation, one child for each candidate.

Only `MlflowClient` is used, on the address given: MLflow's global state, which may be the user's own, stays
as it is.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InfrastructureError, UsageError
from .tracking_plan import InputPlan, RunPlan, TrackingPlan, clean_name, plan

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run
    from sqlalchemy.engine import URL

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"

_CONNECT_SECONDS = 5
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# MLflow's own settings wait for minutes (7 retries, 120 s each): too long for the end of a command.
_FIRST_CALL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "8"}
_CALLS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_NOISY_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool")


@dataclass(frozen=True)
class TrackedRun:
    """Where an evaluation was logged. `tracking_uri` carries no credentials."""

    experiment_id: str
    parent_run_id: str
    tracking_uri: str


def log_run(folder: Path, tracking_uri: str) -> TrackedRun:
    """Log `folder/evidence.json` and the unrestricted files it lists; a second call returns the first's run.

    A run that an earlier call left unfinished is replaced. With SQLite the files lie in `mlruns` beside the
    database, wherever the command runs.

    Raises:
        UsageError: no valid evidence, files that are not those it lists, or an address MLflow cannot log to.
        InfrastructureError: the server or the database failed; a parent run that exists is marked FAILED.
    """
    evaluation = plan(folder)
    _check_address(tracking_uri)
    shown = _without_credentials(tracking_uri)
    # Set before MLflow is first imported and left so: it reads them in threads that outlive this call.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        with _defaults(_QUIET), _quiet_loggers():
            experiment_id, parent_run_id = _log(evaluation, tracking_uri)
    except Exception as error:  # MLflow, its HTTP and its database drivers have no common base
        command = shlex.join(["privassay", "log", str(folder), "--tracking-uri", shown])
        raise InfrastructureError(
            f"{shown}: not logged to MLflow ({_reason(error)}); the results are kept, log later: {command}"
        ) from error
    return TrackedRun(experiment_id, parent_run_id, shown)


def _log(evaluation: TrackingPlan, uri: str) -> tuple[str, str]:
    """Connect, find or make the experiment and the run."""
    with _defaults(_FIRST_CALL):
        client, location = _connect(uri, evaluation.experiment)
        experiment_id = _experiment(client, evaluation.experiment, location)
    with _defaults(_CALLS):
        for run in _earlier(client, experiment_id, evaluation):
            if run.info.status == "FINISHED":
                return experiment_id, run.info.run_id
            _discard(client, run)
        return experiment_id, _log_parent(client, experiment_id, evaluation)


def _connect(uri: str, experiment: str) -> tuple[MlflowClient, str | None]:
    """A client, and where a new experiment's files go (None: the server decides)."""
    from mlflow import MlflowClient

    if uri.partition(":")[0].partition("+")[0] not in ("sqlite", *_DATABASE_PORTS):
        return MlflowClient(tracking_uri=uri), None
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.get_backend_name() != "sqlite":
        _check_database(url)
        return MlflowClient(tracking_uri=uri), None
    path = Path(str(url.database)).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    url = url.set(database=str(path))
    with _alone(path.parent):
        _check_database(url)
        client = MlflowClient(tracking_uri=url.render_as_string(hide_password=False))
    return client, (path.parent / "mlruns" / clean_name(experiment)).as_uri()


def _check_database(url: URL) -> None:
    """Open the database once: MLflow itself would repeat a failing attempt for minutes."""
    from sqlalchemy import create_engine, inspect

    if url.host:
        port = url.port or _DATABASE_PORTS[url.get_backend_name()]
        socket.create_connection((url.host, port), _CONNECT_SECONDS).close()
    engine = create_engine(url)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other privassay processes waiting: two that create MLflow's tables at once break the database."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != "active":
        raise RuntimeError(f"experiment {name!r} was deleted there; restore it or rename the experiment")
    return str(found.experiment_id)


def _earlier(client: MlflowClient, experiment_id: str, evaluation: TrackingPlan) -> list[Run]:
    """Parent runs that an earlier logging of the same evidence left, finished or not."""
    wanted = f"tags.`privassay.evidence_sha256` = '{evaluation.evidence_sha256}'"
    return list(client.search_runs([experiment_id], filter_string=wanted))


def _discard(client: MlflowClient, run: Run) -> None:
    """Delete an unfinished evaluation with its children; MLflow can restore deleted runs."""
    children = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    for unfinished in [*client.search_runs([run.info.experiment_id], filter_string=children), run]:
        if unfinished.info.status == "RUNNING":
            client.set_terminated(unfinished.info.run_id, status="FAILED")
        client.delete_run(unfinished.info.run_id)


def _log_parent(client: MlflowClient, experiment_id: str, evaluation: TrackingPlan) -> str:
    """Log everything; the parent is FINISHED only when all of it is there."""
    with _run(client, experiment_id, evaluation.parent, {}, evaluation.created) as parent_id:
        client.log_inputs(parent_id, datasets=[_dataset_input(part) for part in evaluation.inputs])
        for child in evaluation.children:
            with _run(client, experiment_id, child, {"mlflow.parentRunId": parent_id}, evaluation.created):
                pass
        for path, folder in evaluation.uploads:
            client.log_artifact(parent_id, str(path), None if folder == "." else folder)
    return parent_id


@contextmanager
def _run(
    client: MlflowClient, experiment_id: str, content: RunPlan, tags: Mapping[str, str], created: int
) -> Iterator[str]:
    """A run with its content; FINISHED when the block ends well, FAILED otherwise."""
    from mlflow.entities import Metric, Param

    run = client.create_run(experiment_id, start_time=created, tags={**content.tags, **tags}, run_name=content.name)
    run_id = str(run.info.run_id)
    try:
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, created, 0) for name, value in content.metrics.items()],
            params=[Param(name, value) for name, value in content.parameters.items()],
        )
        yield run_id
    except BaseException:
        with _defaults(_FIRST_CALL), suppress(Exception):  # the first failure is the one to report
            client.set_terminated(run_id, status="FAILED")
        raise
    client.set_terminated(run_id, end_time=created)


def _dataset_input(part: InputPlan) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = {"mlflow.data.context": part.context, **part.tags}
    return DatasetInput(
        Dataset(name=part.name, digest=part.digest, source_type="code", source=part.source),
        [InputTag(name, value) for name, value in tags.items()],
    )


@contextmanager
def _defaults(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of the block; those that the user set win."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Only errors from MLflow (migrations, retries) for the time of the block."""
    import mlflow  # noqa: F401  # the import sets the levels that are changed here

    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_address(uri: str) -> None:
    """Refuse what MLflow no longer logs to, with a way out."""
    scheme, colon, rest = uri.partition(":")
    allowed = f"a server (http://HOST:PORT) or a database, e.g. {DEFAULT_TRACKING_URI}"
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return
    if scheme == "file" or not (colon or uri == "databricks"):
        raise UsageError(f"tracking uri {uri!r}: MLflow has retired its file store; use {allowed}")
    if scheme.startswith("sqlite") and rest.removeprefix("///") in ("", "//", ":memory:"):
        raise UsageError(f"tracking uri {uri!r}: names no file, so nothing would be kept; use {allowed}")


def _without_credentials(text: str) -> str:
    """`text` without the user part and the passwords of addresses in it."""
    return re.sub(r"\b(password|token)=[^&\s]*", r"\1=***", re.sub(r"://[^/\s]*@", "://***@", text))


def _reason(error: BaseException) -> str:
    """One line: the operating system's own words where it refused, else the start of the message."""
    words = str(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            words = "no answer in time"
        elif isinstance(cause, OSError) and cause.strerror:
            words = f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
        cause = cause.__cause__ or cause.__context__
    line = " ".join(words.split("\n[SQL")[0].split()) or type(error).__name__
    return _without_credentials(line if len(line) <= 300 else line[:299] + "…")
