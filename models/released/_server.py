"""Requests to an endpoint: paced, repeated where that can help, and read as MLflow's scoring protocol has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from ...harness.errors import InfrastructureError, UsageError
from ...harness.types import Float32
from ._answers import shortened

if TYPE_CHECKING:
    from .endpoint import Endpoint

REPEATED = (429, 500, 502, 503, 504)
"""Statuses after which a request is repeated."""

LONGEST_PAUSE = 60.0
"""Seconds that a server may ask to wait before a request is repeated."""


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
            self._session.mount(scheme, HTTPAdapter(max_retries=_patience(endpoint.retries)))

    def __call__(self, x: Float32) -> Any:
        """Predictions for records (n, *shape), as they came.

        Raises:
            UsageError: refused (4xx, certificate), redirected, or not the protocol.
            InfrastructureError: no answer, or only errors of the server's own.
        """
        self._wait()
        response = self._post(x)
        self._check_status(response)
        try:
            predictions = response.json()["predictions"]
        except (ValueError, KeyError, TypeError):
            raise self._refused('the answer is not {"predictions": [...]}: ' + self._quoted(response)) from None
        return _rows(predictions)

    def _wait(self) -> None:
        if self._endpoint.requests_per_second is None:
            return
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + 1 / self._endpoint.requests_per_second

    def _post(self, x: Float32) -> requests.Response:
        ca_file = self._endpoint.ca_file
        try:
            return self._session.post(
                self._endpoint.url,
                json=self._endpoint.payload(x),
                timeout=self._endpoint.timeout,
                allow_redirects=False,
                verify=True if ca_file is None else str(ca_file),
            )
        except requests.exceptions.SSLError as error:
            words = f"its certificate cannot be checked ({self._clean(_cause(error))}); `ca_file` names its authority"
            raise self._refused(words) from None
        except (requests.RequestException, OSError) as error:
            raise InfrastructureError(f"{self._endpoint.source}: no answer ({self._clean(_cause(error))})") from None

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status >= 500 or status == 429:
            raise InfrastructureError(
                f"{self._endpoint.source}: status {status} after {self._endpoint.retries} more tries: "
                f"{self._quoted(response)}"
            )
        if 300 <= status < 400:
            raise self._refused(f"status {status}, a redirect, which is not followed; give the address that answers")
        if status != 200:
            raise self._refused(f"status {status}: {self._quoted(response)}")

    def _refused(self, words: str) -> UsageError:
        return UsageError(f"{self._endpoint.source}: {words}")

    def _quoted(self, response: requests.Response) -> str:
        return self._clean(response.text) or "(nothing)"

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


def _rows(predictions: Any) -> Any:
    """Predictions as lists; a server whose model returns a data frame sends one mapping a record."""
    if not isinstance(predictions, list) or not predictions or not all(isinstance(row, dict) for row in predictions):
        return predictions
    alike = all(list(row) == list(predictions[0]) for row in predictions)
    return [list(row.values()) for row in predictions] if alike else predictions
