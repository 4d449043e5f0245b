"""A server process of this run's own: started, awaited, and ended with its whole process group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import requests

from ...harness.errors import InfrastructureError, UsageError, told

GRACE = 10.0
"""Seconds that the group has to end by itself."""

_PAUSE = 0.1  # seconds between two looks at whether the server is ready
_PATIENCE = 5.0  # seconds for one look
_DYING = 0.5  # seconds from a lost connection to the end of a process that crashed
_LINES, _CHARACTERS, _TAIL = 4, 400, 8192


class OwnServer:
    """One process and all that it starts: they share a process group of their own."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], secret: str) -> None:
        """Take charge of `process`, the leader of its group, whose stderr is `errors`; `secret` is never shown."""
        self._process = process
        self._errors = errors
        self._secret = secret

    @classmethod
    def start(cls, command: Sequence[str], secret: str) -> OwnServer:
        """Start `command`, without a shell, in the current directory.

        Raises:
            UsageError: there is no such command.
        """
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop(); a pipe would block the server when full
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(  # noqa: S603 - the experiment file names the command
                command, stdin=quiet, stdout=quiet, stderr=errors, start_new_session=True
            )
        except (OSError, ValueError) as error:
            errors.close()
            raise UsageError(f"command: {command[0]!r} cannot be started ({told(error)})") from error
        return cls(process, errors, secret)

    def await_status_200(self, url: str, session: requests.Session, seconds: float) -> None:
        """Ask `url` again and again until it answers with status 200.

        Somebody else may have taken the port first. Then a server ends, as a rule at once, for it cannot have it: so it
        is watched for a moment longer, and `explaining` looks again after every use.

        Raises:
            InfrastructureError: it did not within `seconds`, or the process ended.
        """
        deadline = time.monotonic() + seconds
        while not _answers_200(url, session):
            if self._process.poll() is not None:
                raise InfrastructureError(f"{url}: no answer")
            if time.monotonic() > deadline:
                raise InfrastructureError(f"{url}: no answer with status 200 in {seconds:g} s")
            time.sleep(_PAUSE)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DYING)
        self._require_running()

    def _require_running(self) -> None:
        if self._process.poll() is not None:
            raise InfrastructureError("an answer came, but it may be another server's: the command is at its end")

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Add what became of the process to errors of the infrastructure.

        Raises:
            InfrastructureError: the process ended meanwhile, so that who answered is not known.
        """
        try:
            yield
            self._require_running()
        except InfrastructureError as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DYING)
            code = self._process.returncode
            state = "runs" if code is None else f"ended with code {code}"
            raise InfrastructureError(f"{error}; the server {state}: {self._last_words()}") from error

    def stop(self) -> None:
        """End the group: ask first, kill what is left when its leader ended or the grace is over."""
        try:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        finally:  # a second Ctrl-C comes here at once
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # all gone; macOS: only ended ones are left
            os.killpg(self._process.pid, number)

    def _last_words(self) -> str:
        """The last lines of stderr on one line."""
        file = self._errors.fileno()
        start = max(0, os.fstat(file).st_size - _TAIL)  # no seek: the server writes where the file stands
        text = os.pread(file, _TAIL, start).decode(errors="replace")
        text = text.replace(self._secret, "***") if self._secret else text
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()][-_LINES:]
        words = " | ".join(lines)
        return (words if len(words) <= _CHARACTERS else f"...{words[-_CHARACTERS:]}") or "(nothing on its stderr)"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers_200(url: str, session: requests.Session) -> bool:
    try:
        return session.get(url, timeout=_PATIENCE, allow_redirects=False).status_code == 200
    except (requests.RequestException, OSError):
        return False
