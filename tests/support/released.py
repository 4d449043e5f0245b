"""A released model for tests: a forest on half of some digits, its predictions file, a user's module around it."""

import contextlib
import http.server
import threading

import numpy as np
import pandas as pd
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.trust import Trust
from sklearn.ensemble import RandomForestClassifier

RECORDS = 600


def trained(records=RECORDS, seed=0):
    """Features, labels and membership of `records` digits, and a forest that was fitted to the members."""
    digits = Digits().load()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(digits))[:records]
    x, y = digits.x[rows].reshape(records, -1), digits.y[rows]
    member = np.zeros(records, dtype=bool)
    member[rng.permutation(records)[: records // 2]] = True
    return x, y, member, RandomForestClassifier(20, random_state=seed, n_jobs=1).fit(x[member], y[member])


def write_table(folder, extra=0):
    """`records.csv`: features f0 .. f63, label, member; the last `extra` records have no membership."""
    x, y, member, forest = trained()
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    table["label"] = y
    table["member"] = member.astype(int).astype(object)
    if extra:
        table.loc[len(table) - extra :, "member"] = ""
    table.to_csv(folder / "records.csv", index=False)
    return forest


def write_predictions(folder, references=0):
    """`predictions.csv` of the forest, and `references/N.csv` of forests on random halves of the same records."""
    x, y, member, forest = trained()
    _write(folder / "predictions.csv", forest.predict_proba(x), y, member)
    (folder / "references").mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for k in range(references):
        mask = ~mask if k % 2 else rng.permutation(len(y)) < len(y) // 2  # noqa: F821 - k = 0 comes first
        other = RandomForestClassifier(20, random_state=k, n_jobs=1).fit(x[mask], y[mask])
        _write(folder / "references" / f"{k}.csv", other.predict_proba(x), y, mask)


def _write(path, probabilities, y, member):
    table = pd.DataFrame(probabilities, columns=[f"p_{c}" for c in range(probabilities.shape[1])])
    table["label"], table["member"] = y, member.astype(int)
    table.to_csv(path, index=False)


def refusal(component, dataset, trust=None):
    """The one line with which a way to a released model refuses these records."""
    with pytest.raises(UsageError) as raised:
        component.open(dataset, Trust() if trust is None else trust)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@contextlib.contextmanager
def serving(answer):
    """A server of MLflow's scoring protocol on this machine: `answer` makes a text of each request's body, a text.

    It has `url`, and in `seen` the bodies as they came.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.server.seen.append(asked)
            body = answer(asked).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.seen, running.url = [], f"http://127.0.0.1:{running.server_address[1]}/invocations"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()
