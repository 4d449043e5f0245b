"""A server that answers as MLflow's does, for the contract table.

`python -m privassay.experiments._contract_server PORT` serves on this machine until it is ended.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._contract_user_code import predict


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Say that the server is ready."""
        self._send(b"")

    def do_POST(self) -> None:
        """Answer the records of one request."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        answers = self.server.ask(np.array(asked, dtype=np.float32))  # type: ignore[attr-defined]
        self._send(json.dumps({"predictions": answers.tolist()}).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _send(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _server(port: int) -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.ask = predict()  # type: ignore[attr-defined]
    return server


@contextmanager
def serving() -> Iterator[str]:
    """Address of the released model on this machine, served by a thread."""
    server = _server(0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/invocations"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    _server(int(sys.argv[1])).serve_forever()
