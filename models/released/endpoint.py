"""A released model behind an HTTP endpoint that speaks MLflow's scoring protocol."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from ...harness.checks import non_negative, one_of, positive, require
from ...harness.errors import NotApplicable, UsageError
from ...harness.protocols import Released
from ...harness.trust import Trust
from ...harness.types import Answers, Dataset, Float32, Float64
from ._answers import FORMS, AnswerForm, Ask, AskedModel, Reading, look_at
from ._frames import Framed, frames_for, frames_in_order, notes_of


@dataclass(frozen=True)
class Endpoint:
    """A model that answers POST requests with `{"predictions": [...]}`.

    It is sent `{"inputs": [...]}` or `{"dataframe_split": {"columns": [...], "data": [...]}}`.

    A request that fails by a lost connection or a time-out before the body of its answer begins, or by status 429, 500,
    502, 503 or 504, is repeated, after a pause that doubles or that the server names (Retry-After, at most a minute).
    An answer that breaks off, is not whole in time or is longer than 256 MiB is not: the same command goes on from
    there. Redirects are not followed.
    Certificates of https are checked, always.

    Attributes:
        url: the whole address that is posted to, e.g. `https://host/invocations`. It stands in the evidence, so it may
            hold no user or password, and no key: keys belong into `token_variable`.
        format: how records are sent: `inputs` (nested lists of features) or `dataframe_split` (a table with `columns`).
        columns: names of the columns in `dataframe_split`: columns of the data, or as many names of the server's own
            as the file has columns, or records features, in that order. Empty: all columns of the data, or where these
            have none, features by their numbers from 0. Columns are sent as cells of the file, texts included.
        answers: what the numbers are: `probabilities`, `logits` or `labels`.
        batch_size: most records in one request, at least 1. Of more than 64, the largest multiple of 64 in it is used
            for the records of the data set, whose answers are kept.
        timeout: most seconds until the connection stands, until a request is sent, and from then to the last byte of
            its answer; > 0. Bytes that trickle in do not prolong it.
        retries: how often a request is repeated, at least 0.
        requests_per_second: most requests in a second, repeated ones not counted; None: as fast as it answers.
        query_budget: most records that may be asked about in one run of the command, the two of `open` included;
            repeated requests are not counted. None: any number.
        token_variable: name of the environment variable that holds the bearer token; None: no token is sent. A token
            is sent by https or to this machine only.
        ca_file: certificates (PEM) of the authority that the server's is signed by; None: the usual ones.
        training_records: how many records the model trained on, where its owner says; at least 1.
        classes: names of the classes in the order of the columns that answers have, where these have no names, or as
            labels that are numbers count them; empty: the order of the data's classes, which is `values`, or sorted,
            and puts `positive` last.
    """

    url: str
    format: Literal["inputs", "dataframe_split"] = "inputs"
    columns: tuple[str, ...] = ()
    answers: AnswerForm = "probabilities"
    batch_size: int = 64
    timeout: float = 30.0
    retries: int = 4
    requests_per_second: float | None = None
    query_budget: int | None = None
    token_variable: str | None = None
    ca_file: Path | None = None
    training_records: int | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_address()
        one_of(("inputs", "dataframe_split"), format=self.format)
        one_of(FORMS, answers=self.answers)
        positive(batch_size=self.batch_size, timeout=self.timeout)
        non_negative(retries=self.retries)
        for name in ("requests_per_second", "query_budget", "training_records"):
            if getattr(self, name) is not None:
                positive(**{name: getattr(self, name)})
        if self.columns:
            require(self.format == "dataframe_split", "columns", self.columns, "left out: `inputs` has no columns")

    def open(self, dataset: Dataset, trust: Trust) -> Released:  # noqa: ARG002 - nothing that comes back is code
        """Ask the endpoint about two records, or more where these leave its form open (`look_at`); all count.

        Raises:
            UsageError: the token or the file of certificates is missing, its columns are not those of the data, the
                endpoint refuses (4xx), its certificate cannot be checked, or its answers are none for these data.
            InfrastructureError: it does not answer, or only with errors of its own (5xx).
        """
        from ._server import Server

        if self.ca_file is not None and not self.ca_file.is_file():
            raise UsageError(f"{self.ca_file}: no such file")
        reading = Reading(self.answers, dataset.n_classes, self.source, dataset.class_names, self.classes)
        ask = self._asking(Server(self, self._token()), dataset)
        asked = AskedModel(ask, reading, self.batch_size)
        model = EndpointModel(asked, self.query_budget, look_at(asked, dataset, self.query_budget))
        notes = ("an endpoint may change between two requests: no digest of the model is known", *notes_of(ask))
        return Released(model, self.source, "", (), self.training_records, notes, self.batch_size)

    @property
    def source(self) -> str:
        """The address without its query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    @property
    def local(self) -> bool:
        """Whether the address is this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def payload(self, records: Any) -> dict[str, Any]:
        """The request for records: an array (n, *shape) for `inputs`, a data frame for `dataframe_split`."""
        if self.format == "inputs":
            return {"inputs": records.tolist()}
        columns = [[_as_json(cell) for cell in records[name].tolist()] for name in records.columns]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return {"dataframe_split": {"columns": list(records.columns), "data": rows}}

    def _asking(self, server: Ask, dataset: Dataset) -> Ask:
        if self.format == "inputs":
            return server
        own = dataset.columns.names if dataset.columns is not None else range(dataset.x[0].size)
        stated = self.columns and not set(self.columns) & set(own)  # names of the server's own, in the data's order
        find = frames_in_order if stated else frames_for
        return Framed(server, find(self.columns or tuple(own), dataset, self.source))

    def _check_address(self) -> None:
        parts = _split(self.url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("url: must be a whole address, e.g. https://host/invocations")
        if "@" in parts.netloc:
            raise UsageError(
                "url: holds a user or a password; name an environment variable in `token_variable` instead"
            )
        if self.token_variable is not None and parts.scheme == "http" and not self.local:
            raise UsageError(f"url: {self.source} would get the token unencrypted: must be https")

    def _token(self) -> str | None:
        if self.token_variable is None:
            return None
        token = os.environ.get(self.token_variable, "").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise UsageError(f"{self.source}: the environment variable {self.token_variable} holds no token")
        return token


class EndpointModel:
    """A model that counts the records it was asked about and refuses before a budget is exceeded."""

    def __init__(self, model: AskedModel, budget: int | None, asked: int) -> None:
        """Wrap `model`, which was `asked` about so many records; `budget` None allows any number."""
        self._model = model
        self._budget = budget
        self._asked = asked

    @property
    def answers(self) -> Answers:
        """Whether it answers with probabilities or with labels only."""
        return self._model.answers

    def predict(self, x: Float32) -> Float64:
        """Answers on records (n, *shape): float64 (n, classes), rows at least 0 with sum 1; one-hot for labels.

        Raises:
            NotApplicable: the query budget does not suffice; nothing was asked.
            UsageError: the endpoint refused, or what came back is no answer.
            InfrastructureError: no answer came.
        """
        if self._budget is not None and self._asked + len(x) > self._budget:
            raise NotApplicable(f"query_budget={self._budget}: {self._asked} are spent, {len(x)} more are asked for")
        self._asked += len(x)
        return self._model.predict(x)


def _as_json(cell: Any) -> Any:
    """A cell as JSON has it: null where it is missing, a date as ISO 8601 writes it."""
    import pandas as pd  # type: ignore[import-untyped]

    if pd.isna(cell) is True:  # an array, which a cell may hold, is asked about element by element
        return None
    if isinstance(cell, Decimal):
        return float(cell)
    return cell.isoformat() if hasattr(cell, "isoformat") else cell


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return parts
