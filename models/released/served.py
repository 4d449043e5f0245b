"""A released model in a server that the run starts itself: what a CI job audits before a release."""

from __future__ import annotations

import os
import sys
import weakref
from dataclasses import dataclass, fields, replace
from urllib.parse import urlsplit

from ...harness.checks import positive, require
from ...harness.protocols import Released, ReleasedModel
from ...harness.trust import Trust
from ...harness.types import Answers, Dataset, Float32, Float64
from ._own_server import OwnServer, free_port
from .endpoint import Endpoint

PORT = "{port}"


@dataclass(frozen=True, kw_only=True)
class Served(Endpoint):
    """A model that answers as an endpoint does, in a server process that this run starts and ends.

    The command runs because the experiment names it, as a function of the user's does: no `--trust` is needed. It runs
    without a shell in the current directory, with this process's environment, and must stay in the foreground. It and
    all that it starts end with the run, whether the run succeeds, fails or is stopped by Ctrl-C or SIGTERM: they are
    sent SIGTERM, and SIGKILL where that does not help in 10 s. What leaves the process group of the command or belongs
    to another daemon must end with it by itself (`docker run --rm` in the foreground does). A run that is killed by
    SIGKILL leaves the server behind.

    The port is another one in every run and in no key, so answers that an earlier run kept are found again. What the
    server serves is known by the command as it is written: let it name a version, such as the digest of an image.

    Attributes:
        command: program and arguments; `{port}`, which one of them must hold, becomes a free port, `{python}` the
            interpreter that runs this.
        url: as of an endpoint, with `{port}`.
        ready: path that answers GET with status 200 once the server is ready; starts with `/`.
        start_seconds: how long that may take, > 0.
    """

    url: str = f"http://127.0.0.1:{PORT}/invocations"
    command: tuple[str, ...]
    ready: str = "/ping"
    start_seconds: float = 120.0

    def __post_init__(self) -> None:
        self._endpoint(port=1)  # checks all that an endpoint has
        require(PORT in self.url, "url", self.url, f"an address with {PORT}")
        require(any(PORT in word for word in self.command), "command", self.command, f"words, one of them with {PORT}")
        require(self.ready.startswith("/"), "ready", self.ready, "a path, e.g. /ping")
        positive(start_seconds=self.start_seconds)

    def open(self, dataset: Dataset, trust: Trust) -> Released:
        """Start the server, wait until it is ready, and ask it as `Endpoint.open` does.

        The server ends when the model that is returned is no longer used, at the latest with this process.

        Raises:
            UsageError: the command cannot be started; else as `Endpoint.open`.
            InfrastructureError: the server ended or was not ready in time; else as `Endpoint.open`.
        """
        port = free_port()
        endpoint = self._endpoint(port)
        server = OwnServer.start(
            [word.replace(PORT, str(port)).replace("{python}", sys.executable) for word in self.command],
            secret=os.environ.get(self.token_variable or "", "").strip(),
        )
        try:
            with server.explaining():
                self._await(server, endpoint)
                released = endpoint.open(dataset, trust)
        except BaseException:  # Ctrl-C too: nobody else knows of the server yet
            server.stop()
            raise
        notes = (*released.notes, "answers that were kept count as this server's while its command stays as written")
        return replace(released, model=ServedModel(released.model, server), source=self.source, notes=notes)

    def _endpoint(self, port: int) -> Endpoint:
        values = {field.name: getattr(self, field.name) for field in fields(Endpoint)}
        return Endpoint(**{**values, "url": self.url.replace(PORT, str(port))})

    def _await(self, server: OwnServer, endpoint: Endpoint) -> None:
        import requests

        parts = urlsplit(endpoint.url)
        with requests.Session() as session:
            session.trust_env = not endpoint.local
            session.verify = True if self.ca_file is None else str(self.ca_file)
            url = f"{parts.scheme}://{parts.netloc}{self.ready}"
            server.await_status_200(url, session, self.start_seconds)


class ServedModel:
    """The model in a server of this run's own, which ends when nothing holds the model any more."""

    def __init__(self, model: ReleasedModel, server: OwnServer) -> None:
        """Wrap `model`, which asks `server`."""
        self._model = model
        self._server = server
        weakref.finalize(self, server.stop)

    @property
    def answers(self) -> Answers:
        """Whether it answers with probabilities or with labels only."""
        return self._model.answers

    def predict(self, x: Float32) -> Float64:
        """Answers on records (n, *shape): float64 (n, classes), rows at least 0 with sum 1; one-hot for labels.

        Raises:
            NotApplicable: as the model of `Endpoint`.
            UsageError: as the model of `Endpoint`.
            InfrastructureError: no answer came; the message says what became of the server.
        """
        with self._server.explaining():
            return self._model.predict(x)
