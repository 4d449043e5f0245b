"""The endpoint source against real HTTP servers: one with faults, one of `mlflow models serve`."""

import dataclasses
import gzip
import http.server
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from privassay.harness.errors import InfrastructureError, NotApplicable, UsageError
from privassay.harness.trust import Trust
from privassay.harness.types import Dataset
from privassay.models.released.endpoint import Endpoint

X = np.random.default_rng(0).random((10, 2, 2), dtype=np.float32)
DATA = Dataset("toy", X, np.arange(10) % 3, 3, (0.0, 1.0), False, "none")
WEIGHTS = np.random.default_rng(1).normal(size=(4, 3))
TOKEN = "s3cret-t0ken"


def probabilities(x):
    e = np.exp(np.asarray(x, dtype=np.float64).reshape(len(x), -1) @ WEIGHTS)
    return e / e.sum(axis=1, keepdims=True)


class Faulty(http.server.ThreadingHTTPServer):
    """Answers as the entries of `plan` say, one a request, then as it should.

    An entry is a number of seconds to sleep, (status, headers, body), or the pieces of an answer, head included.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen, self.times = [], [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/invocations"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.server.times.append(time.monotonic())
        step = self.server.plan.pop(0) if self.server.plan else None
        if isinstance(step, float):
            time.sleep(step)
            step = None
        if step is not None and not isinstance(step, tuple):
            for piece in step:
                self.wfile.write(piece)
            self.close_connection = True
            return
        x = body["inputs"] if "inputs" in body else body["dataframe_split"]["data"]
        answer = json.dumps({"predictions": probabilities(x).tolist()})
        status, headers, text = step or (200, {}, answer)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # the other side did not wait
            self.close_connection = True


@pytest.fixture
def server():
    with Faulty() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def failure(kind, component):
    with pytest.raises(kind) as raised:
        component.open(DATA, Trust())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_records_are_asked_in_batches_and_two_of_them_at_open(server):
    released = Endpoint(server.url, batch_size=4, training_records=5).open(DATA, Trust())
    assert [len(body["inputs"]) for _, _, body in server.seen] == [2]
    np.testing.assert_allclose(released.model.predict(X), probabilities(X), rtol=1e-12)
    assert [len(body["inputs"]) for _, _, body in server.seen] == [2, 4, 4, 2]
    sent = np.concatenate([np.array(body["inputs"], dtype=np.float32) for _, _, body in server.seen[1:]])
    np.testing.assert_array_equal(sent, X)
    assert (released.source, released.sha256, released.training_records) == (server.url, "", 5)
    assert all("Authorization" not in headers for _, headers, _ in server.seen)


def test_columns_of_a_data_frame_have_the_names_that_were_given(server):
    for columns in ((), ("a", "b", "c", "d")):
        released = Endpoint(server.url, format="dataframe_split", columns=columns).open(DATA, Trust())
        np.testing.assert_allclose(released.model.predict(X), probabilities(X), rtol=1e-12)
        assert server.seen[-1][2]["dataframe_split"]["columns"] == list(columns or range(4))
    assert "takes 2 columns, the records have 4" in failure(
        UsageError, Endpoint(server.url, format="dataframe_split", columns=("a", "b"))
    )


NAMED = dataclasses.replace(DATA, class_names=("c", "a", "b"))
ROWS = [{"b": 0.2, "a": 0.3, "c": 0.5}, {"a": 0.1, "c": 0.1, "b": 0.8}]


def served_rows(server, rows, data, **fields):
    server.plan = [(200, {}, json.dumps({"predictions": rows}))] * 2
    return Endpoint(server.url, **fields).open(data, Trust()).model.predict(X[:2])


def test_rows_of_a_data_frame_are_read_by_the_names_of_the_classes(server):
    np.testing.assert_allclose(served_rows(server, ROWS, NAMED), [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], rtol=1e-12)
    counted = [{"0": 0.2, "1": 0.3, "2": 0.5}] * 2
    np.testing.assert_allclose(served_rows(server, counted, DATA), [[0.2, 0.3, 0.5]] * 2, rtol=1e-12)
    np.testing.assert_allclose(served_rows(server, counted, NAMED), [[0.2, 0.3, 0.5]] * 2, rtol=1e-12)
    np.testing.assert_allclose(
        served_rows(server, counted, NAMED, classes=("a", "b", "c")), [[0.5, 0.2, 0.3]] * 2, rtol=1e-12
    )
    with pytest.raises(UsageError, match=r"its classes are b, a, c, those of the data are 0\.\.2"):
        served_rows(server, ROWS, DATA)
    with pytest.raises(UsageError, match="the model calls its columns b, a, c, `classes` says a, b, c"):
        served_rows(server, ROWS, NAMED, classes=("a", "b", "c"))


def test_classes_that_are_none_of_the_data_are_refused_before_a_question(server):
    words = failure(UsageError, Endpoint(server.url, classes=("1", "2", "3")))
    assert words.endswith("`classes` names 1, 2, 3, must name the classes of the data, each of them once: 0..2")
    assert server.seen == []


def test_two_errors_of_the_server_then_an_answer(server):
    server.plan = [(500, {}, "boom"), (500, {}, "boom")]
    Endpoint(server.url).open(DATA, Trust())
    assert len(server.seen) == 3
    assert server.times[2] - server.times[1] > 0.9  # the second pause: 0.5 s x 2


def test_retry_after_is_obeyed(server):
    server.plan = [(429, {"Retry-After": "1"}, "slow down")]
    Endpoint(server.url).open(DATA, Trust())
    assert server.times[1] - server.times[0] > 0.99


def test_a_server_may_not_ask_to_wait_for_ever():
    from privassay.models.released._server import LONGEST_PAUSE, _patience

    assert _patience(3).parse_retry_after("1000000000") == LONGEST_PAUSE
    assert _patience(3).increment("POST", "/", error=None).parse_retry_after("1000000000") == LONGEST_PAUSE


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_errors_that_stay_end_in_one_line(server, status):
    server.plan = [(status, {}, "line one\nline two " + "x" * 500)] * 2
    words = failure(InfrastructureError, Endpoint(server.url, retries=1))
    assert f"status {status} after 1 more tries: line one line two xxx" in words
    assert len(words) < 400
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422, 418])
def test_refusals_are_not_repeated(server, status):
    server.plan = [(status, {}, "no such model\nhere")]
    assert f"{server.url}: status {status}: no such model here" in failure(UsageError, Endpoint(server.url))
    assert len(server.seen) == 1


def test_a_slow_server_is_given_up(server):
    server.plan = [30.0, 30.0]
    begin = time.monotonic()
    words = failure(InfrastructureError, Endpoint(server.url, timeout=0.2, retries=1))
    assert "no answer (" in words
    assert "timed out" in words.lower()
    assert time.monotonic() - begin < 15
    assert len(server.seen) == 2


def drip(begin, text=b"1" * 100_000, pause=0.02):
    """An answer that goes on and on: `begin` at once, then a byte now and then, for half an hour."""
    yield begin
    for byte in text:
        time.sleep(pause)
        yield bytes([byte])


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"  # the server closes: a client that kept it would ask into nothing
SIZED = OK + b"Content-Length: 100000\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "text", "requests"),
    [
        (SIZED, b"[" * 100_000, 1),
        (OK + b"\r\n", b"[" * 100_000, 1),
        (CHUNKED, b"1\r\n[\r\n" * 10_000, 1),
        (b"HTTP/1.1 200 ", b"O" * 60_000, 2),
        (OK, b"X-A: b\r\n" * 90, 2),
    ],
    ids=["sized", "until closed", "chunked", "status line", "head"],
)
def test_a_byte_now_and_then_is_no_answer(server, begin, text, requests):
    """What stops in the middle of the body is not asked for again, what stops before it is."""
    server.plan = [drip(begin, text), drip(begin, text)]
    started = time.monotonic()
    words = failure(InfrastructureError, Endpoint(server.url, timeout=0.25, retries=1))
    assert 0.24 < time.monotonic() - started < 15
    assert words.startswith(f"{server.url}: no answer (")
    assert "timed out" in words
    assert len(server.seen) == requests


def test_the_page_of_an_error_that_drips_is_not_awaited(server):
    server.plan = [drip(b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n")]
    started = time.monotonic()
    Endpoint(server.url, timeout=0.25, retries=1).open(DATA, Trust())
    assert time.monotonic() - started < 15
    assert len(server.seen) == 2


def test_an_answer_in_pieces_that_is_whole_in_time_is_one(server):
    text = json.dumps({"predictions": probabilities(X[:2]).tolist()}).encode()
    server.plan = [drip(OK + b"Content-Length: %d\r\n\r\n" % len(text), text, pause=0.002)]
    model = Endpoint(server.url, timeout=2.0, retries=0).open(DATA, Trust()).model
    np.testing.assert_allclose(model.predict(X), probabilities(X), rtol=1e-12)


def test_a_proxy_that_drips_is_given_up_too(server, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    server.plan = [drip(SIZED)]
    component = Endpoint("http://model.example.org/invocations", timeout=0.25, retries=0)
    assert "timed out" in failure(InfrastructureError, component)
    assert server.seen[0][0] == "http://model.example.org/invocations"
    component.open(DATA, Trust())


def test_an_answer_without_end_fills_no_memory(server, monkeypatch):
    monkeypatch.setattr("privassay.models.released._server.LARGEST", 2**20)
    packed = gzip.compress(b" " * 2**22)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    for answer in (itertools.chain([OK + b"\r\n"], itertools.repeat(b" " * 2**16)), [OK + head, packed]):
        server.plan = [answer]
        words = failure(InfrastructureError, Endpoint(server.url, timeout=5.0, retries=0))
        assert "no answer (OSError: longer than 1 MiB; a smaller `batch_size` makes answers shorter)" in words


def test_a_server_that_is_not_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/invocations"
    words = failure(InfrastructureError, Endpoint(url, retries=1))
    assert words.startswith(f"{url}: no answer (")
    assert "refused" in words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html>hello</html>", 'the answer is not {"predictions": [...]}: <html>hello</html>'),
        ("[[0.2, 0.3, 0.5]]", 'the answer is not {"predictions"'),
        ('{"predictions": null}', 'the answer is not {"predictions"'),
        ('{"predictions": ' + "[" * 100_000, 'the answer is not {"predictions"'),
        ("", "(nothing)"),
        ('{"predictions": [[0.2, 0.3, 0.5]]}', "asked about 2 records, answers for 1"),
        ('{"predictions": [[0.5, 0.5], [0.5, 0.5]]}', "answers for 2 classes, the data have 3"),
        ('{"predictions": [[NaN, 0.5, 0.5], [0, 0, 1]]}', "record 1 holds NaN or infinity"),
        ('{"predictions": [[null, 0.5, 0.5], [0, 0, 1]]}', "record 1 holds NaN or infinity"),
        ('{"predictions": [[3.1, -2, 0], [0, 0, 1]]}', "looks like logits; say `answers: logits`"),
        ('{"predictions": [2, 0]}', "say `answers: labels`"),
        ('{"predictions": [{"a": 1, "b": 0, "c": 0}, {"a": 1}]}', "record 2 has other names than that for record 1"),
        ('{"predictions": "none"}', "no table of numbers"),
    ],
)
def test_garbage_is_refused_in_one_line(server, body, words):
    server.plan = [(200, {}, body)]
    assert words in failure(UsageError, Endpoint(server.url))
    assert len(server.seen) == 1


def test_the_budget_is_never_exceeded(server):
    model = Endpoint(server.url, query_budget=7, batch_size=2).open(DATA, Trust()).model
    model.predict(X[:4])
    with pytest.raises(NotApplicable, match="query_budget=7: 6 are spent, 2 more are asked for"):
        model.predict(X[:2])
    model.predict(X[:1])
    assert sum(len(body["inputs"]) for _, _, body in server.seen) == 7


def test_requests_are_paced(server):
    model = Endpoint(server.url, requests_per_second=20, batch_size=1).open(DATA, Trust()).model
    model.predict(X[:5])
    gaps = np.diff(server.times)
    assert len(gaps) == 6  # two requests at open
    assert gaps.min() > 0.035
    assert server.times[-1] - server.times[0] > 0.29


def test_a_token_is_sent_and_never_shown(server, monkeypatch, caplog):
    monkeypatch.setenv("ENDPOINT_TOKEN", TOKEN)
    caplog.set_level(0)
    component = Endpoint(f"{server.url}?version=2", token_variable="ENDPOINT_TOKEN", retries=0)
    released = component.open(DATA, Trust())
    path, headers, _ = server.seen[0]
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert path == "/invocations?version=2"
    assert released.source == server.url
    echo = f"you sent {TOKEN} to us"
    steps = [(UsageError, 403), (InfrastructureError, 500), (UsageError, 200)]
    words = [str(released), str(component)]
    for kind, status in steps:
        server.plan = [(status, {}, echo)]
        words.append(failure(kind, component))
        assert "you sent *** to us" in words[-1]
    assert all(TOKEN not in text for text in words)
    assert TOKEN not in caplog.text
    monkeypatch.setenv("ENDPOINT_TOKEN", "")
    assert "the environment variable ENDPOINT_TOKEN holds no token" in failure(UsageError, component)


def test_a_netrc_file_is_not_sent(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Endpoint(server.url).open(DATA, Trust())
    assert "Authorization" not in server.seen[0][1]


def test_a_redirect_is_not_followed(server, monkeypatch):
    with Faulty() as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("ENDPOINT_TOKEN", TOKEN)
        for status in (302, 307, 308):
            server.plan = [(status, {"Location": other.url}, "")]
            words = failure(UsageError, Endpoint(server.url, token_variable="ENDPOINT_TOKEN"))
            assert f"status {status}, a redirect, which is not followed" in words
        assert other.seen == []
        other.shutdown()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "http://example.org/invocations", "token_variable": "T"}, "would get the token unencrypted"),
        ({"url": "http://127.0.0.1.example.org/invocations", "token_variable": "T"}, "unencrypted"),
        ({"url": "https://user:pass@example.org/invocations"}, "holds a user or a password"),
        ({"url": "ftp://example.org"}, "must be a whole address"),
        ({"url": "example.org/invocations"}, "must be a whole address"),
        ({"url": "https://example.org:port/"}, "must be a whole address"),
        ({"url": "https://h/", "timeout": 0.0}, "timeout=0.0: must be > 0"),
        ({"url": "https://h/", "retries": -1}, "retries=-1"),
        ({"url": "https://h/", "query_budget": 0}, "query_budget=0"),
        ({"url": "https://h/", "requests_per_second": 0.0}, "requests_per_second=0.0"),
        ({"url": "https://h/", "columns": ("a",)}, "columns=('a',): must be left out"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_sent(fields, words):
    with pytest.raises(UsageError) as raised:
        Endpoint(**fields)
    assert words in str(raised.value)
    assert "pass@" not in str(raised.value)


def test_tokens_go_to_this_machine_without_encryption():
    for host in ("localhost", "127.0.0.1", "127.3.2.1", "[::1]"):
        assert Endpoint(f"http://{host}:8000/invocations", token_variable="T").local
    assert not Endpoint("https://example.org/invocations", token_variable="T").local


@pytest.fixture
def encrypted(server, tmp_path):
    """The same server behind a certificate that only `authority.pem` vouches for."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "authority.pem")]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "authority.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *arguments: None  # a client that hangs up is what is tested
    return server.url.replace("http:", "https:")


def test_certificates_are_checked(server, encrypted, tmp_path):
    words = failure(UsageError, Endpoint(encrypted))
    assert "its certificate cannot be checked (" in words
    assert "CERTIFICATE_VERIFY_FAILED" in words
    released = Endpoint(encrypted, ca_file=tmp_path / "authority.pem").open(DATA, Trust())
    np.testing.assert_allclose(released.model.predict(X), probabilities(X), rtol=1e-12)
    other_name = encrypted.replace("127.0.0.1", "localhost")
    words = failure(UsageError, Endpoint(other_name, ca_file=tmp_path / "authority.pem"))
    assert "its certificate cannot be checked (" in words
    server.plan = [drip(SIZED)]
    assert "timed out" in failure(
        InfrastructureError, Endpoint(encrypted, timeout=0.3, ca_file=tmp_path / "authority.pem")
    )
    assert "absent.pem: no such file" in failure(UsageError, Endpoint(encrypted, ca_file=tmp_path / "absent.pem"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow's remarks on itself
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_that_mlflow_serves(tmp_path):
    """A real `mlflow models serve` process, from start to a stop in the middle of a run."""
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    flat = X.reshape(len(X), -1)
    estimator = LogisticRegression().fit(flat, DATA.y)
    mlflow.sklearn.save_model(
        estimator, tmp_path / "model", pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"]
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model"), "-p", str(port)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{environment['PATH']}"
    begin = time.monotonic()
    log = (tmp_path / "log").open("w")
    command += ["--env-manager", "local", "--workers", "1"]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path, start_new_session=True)
    try:
        _until_alive(f"http://127.0.0.1:{port}/ping", process, tmp_path / "log")
        print(f"mlflow models serve answers after {time.monotonic() - begin:.1f} s")
        data = Dataset("flat", flat, DATA.y, 3, DATA.bounds, False, "none")
        url = f"http://127.0.0.1:{port}/invocations"
        for form in ("inputs", "dataframe_split"):
            released = Endpoint(url, format=form, batch_size=4, retries=1).open(data, Trust())
            np.testing.assert_allclose(released.model.predict(flat), estimator.predict_proba(flat), rtol=1e-6)
        words = failure(UsageError, Endpoint(url))  # records of another shape
        assert "status 400" in words or "status 500" in words
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the server is a child of the command
        process.wait(30)
        log.close()
    _until_gone(process.pid)
    with pytest.raises(InfrastructureError, match="no answer"):
        released.model.predict(flat)


def _until_gone(group):
    """The server may outlive the command that started it by some seconds."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the server did not end within 30 s")


def _until_alive(url, process, log):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
