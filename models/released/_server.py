"""Requests to an endpoint: paced, repeated where that can help, and read as MLflow's scoring protocol has it.

Of `requests` a time-out is the longest silence, so a server that sends a byte now and then would hold a run for ever.
Here it is the time from the request to the last byte of its answer, head included (`_Punctual`).
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.util import Retry

from ...harness.errors import InfrastructureError, UsageError, shortened

if TYPE_CHECKING:
    from .endpoint import Endpoint

REPEATED = (429, 500, 502, 503, 504)
"""Statuses after which a request is repeated."""

LONGEST_PAUSE = 60.0
"""Seconds that a server may ask to wait before a request is repeated."""

LARGEST = 256 * 2**20
"""Bytes of an answer, unpacked: 1000 probabilities with 17 digits for each of 12,000 records. More is no answer."""

_PART = 2**16  # bytes of an answer that are unpacked at a time


class Server:
    """One endpoint and the connection to it."""

    def __init__(self, endpoint: Endpoint, token: str | None) -> None:
        """Prepare the connection; nothing is sent yet."""
        self._endpoint = endpoint
        self._token = token
        self._next = 0.0
        self._session = requests.Session()
        # Set even without a token, or `requests` would send what a .netrc file holds for the host.
        self._session.auth = _Bearer(token)
        self._session.trust_env = not endpoint.local  # no proxy between this machine and itself
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(max_retries=_patience(endpoint.retries)))

    def __call__(self, records: Any) -> Any:
        """Predictions for records as `Endpoint.payload` takes them, as they came.

        Raises:
            UsageError: refused (4xx, certificate), redirected, or not the protocol.
            InfrastructureError: no answer, or only errors of the server's own.
        """
        self._wait()
        status, body = self._post(records)
        self._check_status(status, body)
        try:
            predictions = json.loads(body).get("predictions")
        except (ValueError, AttributeError, RecursionError):
            predictions = None
        if predictions is None:
            raise self._refused('the answer is not {"predictions": [...]}: ' + self._quoted(body))
        return predictions

    def _wait(self) -> None:
        if self._endpoint.requests_per_second is None:
            return
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + 1 / self._endpoint.requests_per_second

    def _post(self, records: Any) -> tuple[int, bytes]:
        """Status and body of the answer, which came whole and in time."""
        ca_file = self._endpoint.ca_file
        try:
            with self._session.post(
                self._endpoint.url,
                json=self._endpoint.payload(records),
                timeout=self._endpoint.timeout,
                allow_redirects=False,
                verify=True if ca_file is None else str(ca_file),
                stream=True,
            ) as response:
                return response.status_code, _body(response)
        except requests.exceptions.SSLError as error:
            words = f"its certificate cannot be checked ({self._clean(_cause(error))}); `ca_file` names its authority"
            raise self._refused(words) from None
        except (requests.RequestException, OSError) as error:
            raise InfrastructureError(f"{self._endpoint.source}: no answer ({self._clean(_cause(error))})") from None

    def _check_status(self, status: int, body: bytes) -> None:
        if status >= 500 or status == 429:
            raise InfrastructureError(
                f"{self._endpoint.source}: status {status} after {self._endpoint.retries} more tries: "
                f"{self._quoted(body)}"
            )
        if 300 <= status < 400:
            raise self._refused(f"status {status}, a redirect, which is not followed; give the address that answers")
        if status != 200:
            raise self._refused(f"status {status}: {self._quoted(body)}")

    def _refused(self, words: str) -> UsageError:
        return UsageError(f"{self._endpoint.source}: {words}")

    def _quoted(self, body: bytes) -> str:
        return self._clean(body.decode(errors="replace")) or "(nothing)"

    def _clean(self, text: str) -> str:
        """A foreign text on one line, without the token."""
        return shortened(text if self._token is None else text.replace(self._token, "***"))


class _Bearer(AuthBase):
    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Punctual(http.client.HTTPResponse):
    """An answer that must have come, head and body, when the time-out of its socket is over."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Clocked(sock, self.fp.detach()))


class _Clocked(io.RawIOBase):
    """What a socket receives, until its time-out has passed since now."""

    def __init__(self, sock: socket.socket, received: io.RawIOBase) -> None:
        self._sock = sock
        self._received = received
        limit = sock.gettimeout()
        assert limit is not None  # every request has one
        self._end = time.monotonic() + limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Adapter(HTTPAdapter):
    """Makes all connections, those to a proxy too, answer punctually."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        _punctual(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> PoolManager:
        return _punctual(super().proxy_manager_for(*arguments, **options))


def _punctual(manager: PoolManager) -> PoolManager:
    """`manager`, whose connections have `_Punctual` answers from now on."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _punctual_pool(kind) for scheme, kind in kinds.items()}
    return manager


def _punctual_pool(kind: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection: Any = kind.ConnectionCls
    if issubclass(connection.response_class, _Punctual):
        return kind
    timed = type(connection.__name__, (connection,), {"response_class": _Punctual})
    return type(kind.__name__, (kind,), {"ConnectionCls": timed})


def _body(response: requests.Response) -> bytes:
    """The body, unpacked.

    Raises:
        OSError: it is longer than `LARGEST`.
    """
    parts, size = [], 0
    for part in response.iter_content(_PART):
        size += len(part)
        if size > LARGEST:
            raise OSError(f"longer than {LARGEST / 2**20:.0f} MiB; a smaller `batch_size` makes answers shorter")
        parts.append(part)
    return b"".join(parts)


class _Retry(Retry):
    def parse_retry_after(self, retry_after: str) -> float:
        """Seconds that the server asks to wait, within reason."""
        return min(super().parse_retry_after(retry_after), LONGEST_PAUSE)


def _patience(retries: int) -> Retry:
    """When to repeat; a certificate that is refused once is refused again, so that ends at once (`other`)."""
    return _Retry(
        total=retries,
        other=0,
        allowed_methods={"POST"},
        status_forcelist=REPEATED,
        backoff_factor=0.5,
        raise_on_status=False,
    )


def _cause(error: BaseException) -> str:
    """What went wrong in the words of the innermost exception: the outer ones repeat the whole address."""
    nested = [getattr(error, "reason", None), *error.args]
    inner = next((part for part in nested if isinstance(part, BaseException)), None)
    return f"{type(error).__name__}: {error}" if inner is None else _cause(inner)
