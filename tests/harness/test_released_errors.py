"""An error about a released model says which it is, once, whenever it comes: the exit code stays."""

import http.server
import json
import threading

import numpy as np
import pytest
import yaml
from privassay.harness import plan
from privassay.harness.cli import main
from privassay.harness.errors import ExitCode, InfrastructureError, UsageError
from privassay.harness.events import ignore
from privassay.harness.named_target import NamedTarget
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.store import Store
from privassay.harness.types import Dataset, Identity, Split
from privassay.tests.support import released, small

WHERE = "audit.yaml: targets.api"
OPENED, RECOGNISED = 2, 2 + 32  # records, after each of these steps


class Limited(http.server.ThreadingHTTPServer):
    """Answers about so many records, then with a status."""

    daemon_threads = True

    def __init__(self, forest, reach, status):
        super().__init__(("127.0.0.1", 0), Handler)
        self.forest, self.left, self.status = forest, reach, status
        self.url = f"http://127.0.0.1:{self.server_address[1]}/invocations"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        x = np.array(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"])
        self.server.left -= len(x)
        ended = self.server.left < 0
        text = "over" if ended else json.dumps({"predictions": self.server.forest.predict_proba(x).tolist()})
        self.send_response(self.server.status if ended else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def audit(tmp_path, monkeypatch, capsys):
    """Runs an audit of a model that answers about `reach` records: exit code, the last line of stderr, the address."""
    monkeypatch.chdir(tmp_path)
    forest = released.write_table(tmp_path)

    def run(reach, status, **parameters):
        with Limited(forest, reach, status) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            content = {
                "name": "audit",
                "data": {"component": "table", "path": "records.csv", "target": "label", "member": "member"},
                "targets": {"api": {"component": "endpoint", "url": server.url, "retries": 0, **parameters}},
                "attacks": {"loss": {}},
                "metrics": {"fprs": [0.1], "resamples": 100},
            }
            (tmp_path / "audit.yaml").write_text(yaml.safe_dump(content))
            code = main(["run", "audit.yaml", "--out", "out", "--tracking-uri", "sqlite:///m.db"])
            server.shutdown()
        return code, capsys.readouterr().err.splitlines()[-1], server.url

    return run


@pytest.mark.parametrize("reach", [0, OPENED, RECOGNISED])
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(503, ExitCode.ERROR, "status 503 after 0 more tries: over"), (404, ExitCode.USAGE, "status 404: over")],
)
def test_errors_before_all_is_answered(audit, reach, status, code, words):
    found, line, url = audit(reach, status)
    assert (found, line) == (code, f"privassay: {WHERE}: {url}: {words}")


def test_a_budget_that_does_not_suffice(audit):
    found, line, url = audit(1000, 503, query_budget=100)
    assert found == ExitCode.USAGE
    assert line == (
        f"privassay: {WHERE}: {url}: query_budget=100: 98 are spent, 64 more are asked for; "
        "answers are kept in batches of 64, the same command goes on from there"
    )
    found, line, url = audit(1000, 503, query_budget=20)
    assert (found, line.count("targets.api")) == (ExitCode.USAGE, 1)


class Failing:
    """Answers about the records of a data set; whatever else it is asked about ends in `error`."""

    answers = "probabilities"

    def __init__(self, error):
        self.error = error

    def predict(self, x):
        if x.min() < 0:
            raise self.error
        return np.full((len(x), 10), 0.1)


@pytest.mark.parametrize(("kind", "where"), [(InfrastructureError, f"{WHERE}: "), (UsageError, "")])
def test_what_an_attack_meets(tmp_path, kind, where):
    """What ends the run names the file; what the evidence records in the row of its candidate does not."""
    dataset = Dataset("zeros", np.zeros((64, 2), np.float32), np.arange(64) % 10, 10, (0.0, 1.0), False, "none")
    split = Split(np.arange(64), np.arange(0), np.arange(64)[None] % 2 == 0, released=True)
    opened = Released(Failing(kind("http://host/invocations: status: over")), "here", "1")
    named = NamedTarget("api", WHERE, Identity("endpoint", {}, "0"), opened, small.spec(), False)
    pool = released_pool(named, (dataset, split), Store(tmp_path), 0, ignore)
    with pytest.raises(kind) as raised:
        next(pool.deployed(0, None, 1).rounds(-np.ones((3, 2), np.float32)))
    assert str(raised.value) == f"{where}http://host/invocations: status: over"


def test_references_that_cannot_be_trained_are_refused_before_anything_is_asked(tmp_path):
    released.write_table(tmp_path)
    (tmp_path / "never_asked.py").write_text("def opened():\n    raise AssertionError('it was opened')\n")
    content = {
        "name": "audit",
        "data": {"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        "targets": {"api": {"component": "python", "predict": "never_asked:opened"}},
        "models": {"cnn": {"component": "torch_cnn"}},
        "defenses": {"none": {}},
        "reference": "cnn/none",
        "pool": {"models": 4},
        "attacks": {"lira": {}},
    }
    path = tmp_path / "audit.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as raised:
        plan.make(path)
    assert str(raised.value).startswith(f"{path}: reference cnn/none: records of shape (64,): must be pictures")
