"""A server that the run starts: found again without its port, ended with all that it started, whatever happens."""

import gc
import http.server
import sys
import threading

import numpy as np
import pytest
import requests
from privassay.harness import catalog
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.trust import Trust
from privassay.harness.types import Dataset
from privassay.models.released import _own_server
from privassay.models.released.served import Served
from privassay.tests.support import own_server

X = np.random.default_rng(0).random((10, 2, 2), dtype=np.float32)
DATA = Dataset("toy", X, np.arange(10) % 3, 3, (0.0, 1.0), False, "none")


def served(folder, **fields):
    return Served(command=own_server.command(folder), **fields)


def failure(kind, component):
    with pytest.raises(kind) as raised:
        component.open(DATA, Trust())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_server_is_asked_and_ends_with_the_last_use_of_its_model(tmp_path):
    component = served(tmp_path, batch_size=4, training_records=5)
    released = component.open(DATA, Trust())
    np.testing.assert_allclose(released.model.predict(X), own_server.answers(X.tolist()), rtol=1e-12)
    assert own_server.asked(tmp_path) == [2, 4, 4, 2]
    assert (released.source, released.sha256) == ("http://127.0.0.1:{port}/invocations", "")
    assert (released.training_records, released.model.answers) == (5, "probabilities")
    assert "kept" in released.notes[1]
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert [own_server.alive(pid) for pid in pids] == [True, True]
    del released
    gc.collect()
    assert own_server.running(tmp_path) == []


def test_nothing_that_a_key_is_made_of_holds_the_port(tmp_path):
    identity = catalog.identity(served(tmp_path), "served")
    assert identity.parameters["url"] == "http://127.0.0.1:{port}/invocations"
    assert identity.parameters["command"][2] == "{port}"
    assert sys.executable not in identity.parameters["command"]
    opened = [served(tmp_path).open(DATA, Trust()) for _ in range(2)]
    assert opened[0].source == opened[1].source
    assert opened[0].notes == opened[1].notes


def test_the_fields_of_an_experiment_file(tmp_path):
    parameters = {"command": ["serve", "{port}"], "ready": "/health", "query_budget": 10}
    made = catalog.build("targets", "served", parameters, "here")
    assert made == Served(command=("serve", "{port}"), ready="/health", query_budget=10)
    with pytest.raises(UsageError, match="here: key 'command' is missing"):
        catalog.build("targets", "served", {}, "here")


def test_a_server_that_dies_while_it_starts_says_why(tmp_path):
    own_server.behave(tmp_path, says="one\ntwo\nthree\n\nfour\nfive " + "x" * 500)
    words = failure(InfrastructureError, served(tmp_path))
    assert "/ping: no answer; the server ended with code 3: ..." in words
    assert words.endswith("x" * 400)
    own_server.behave(tmp_path, says="zero\none\ntwo\nthree\n\n  four")
    assert failure(InfrastructureError, served(tmp_path)).endswith("code 3: one | two | three | four")
    assert own_server.running(tmp_path) == []


@pytest.fixture
def stranger():
    """Another server, which answers everything with status 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/ping"
        server.shutdown()


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_an_answer_of_somebody_elses_server_is_not_accepted(stranger, delay):
    program = f"import sys, time; time.sleep({delay}); sys.exit('address in use')"
    server = _own_server.OwnServer.start([sys.executable, "-c", program], "")
    try:
        with (
            pytest.raises(InfrastructureError, match=r"another server's.*; the server ended with code 1: address in u"),
            server.explaining(),
        ):
            server.await_status_200(stranger, requests.Session(), 5)
    finally:
        server.stop()


def test_an_end_that_is_noticed_later_is_told_too():
    server = _own_server.OwnServer.start([sys.executable, "-c", "input()"], "")
    try:
        with pytest.raises(InfrastructureError, match="another server's"), server.explaining():
            server._process.wait(10)  # somebody else would answer from here on
    finally:
        server.stop()


def test_a_server_that_is_never_ready_is_given_up(tmp_path):
    own_server.behave(tmp_path, never_ready=True)
    words = failure(InfrastructureError, served(tmp_path, start_seconds=1.0))
    assert "/ping: no answer with status 200 in 1 s; the server runs: (nothing on its stderr)" in words
    assert own_server.running(tmp_path) == []


def test_a_server_of_another_model_is_refused_and_ended(tmp_path):
    own_server.behave(tmp_path, classes=4)
    assert "answers for 4 classes, the data have 3" in failure(UsageError, served(tmp_path))
    assert own_server.running(tmp_path) == []


def test_a_server_that_is_killed_later_is_known_by_its_end(tmp_path):
    own_server.behave(tmp_path, reach=6, then="die")
    model = served(tmp_path, retries=0).open(DATA, Trust()).model
    model.predict(X[:4])
    with pytest.raises(InfrastructureError, match=r"no answer \(.*; the server ended with code -9: out of memory$"):
        model.predict(X[:1])
    del model
    gc.collect()
    assert own_server.running(tmp_path) == []  # the child of the dead server


def test_what_ignores_the_request_to_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(_own_server, "GRACE", 0.3)
    own_server.behave(tmp_path, stubborn=True)
    released = served(tmp_path).open(DATA, Trust())
    del released
    gc.collect()
    assert own_server.running(tmp_path) == []


def test_the_token_is_not_quoted_from_stderr(tmp_path, monkeypatch):
    monkeypatch.setenv("SERVER_TOKEN", "s3cret")
    own_server.behave(tmp_path, says="started with s3cret")
    words = failure(InfrastructureError, served(tmp_path, token_variable="SERVER_TOKEN"))
    assert words.endswith("started with ***")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": ("serve",)}, "command=('serve',): must be words, one of them with {port}"),
        ({"command": ()}, "command=(): must be words"),
        ({"url": "http://127.0.0.1:80/invocations"}, "must be an address with {port}"),
        ({"url": "ftp://127.0.0.1:{port}/"}, "must be a whole address"),
        ({"ready": "ping"}, "ready='ping': must be a path"),
        ({"start_seconds": 0.0}, "start_seconds=0.0: must be > 0"),
        ({"batch_size": 0}, "batch_size=0: must be > 0"),
        ({"url": "http://host:{port}/", "token_variable": "T"}, "unencrypted"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_started(fields, words):
    with pytest.raises(UsageError) as raised:
        Served(**{"command": ("serve", "{port}"), **fields})
    assert words in str(raised.value)


def test_a_command_that_is_not_there(tmp_path):
    words = failure(UsageError, Served(command=("no-such-command", "{port}")))
    assert "command: 'no-such-command' cannot be started (FileNotFoundError" in words
