"""A training that fails ends as one line that names the file, the candidate or the reference, and the function."""

import pytest
import yaml
from privassay.harness.cli import main
from privassay.harness.errors import ExitCode, shortened, told
from privassay.tests.support import released

CODE = '''
import csv
from pathlib import Path

import numpy as np

def opened():
    return lambda x: np.full((len(x), 10), 0.1)

def fails(x, y, n_classes, seed):
    raise ValueError("two\\nlines \\x1b[31mred\\x07" + "a" * 5000)

def fails_later(x, y, n_classes, seed):
    def predict(x):
        raise ValueError("two\\nlines \\x1b[31mred")
    return predict
'''  # fmt: skip
COMMON = {"defenses": {"none": {}}, "attacks": {"loss": {}}, "metrics": {"fprs": [0.1], "resamples": 100}}
CLEAN = "ValueError: two lines \N{REPLACEMENT CHARACTER}[31mred"


@pytest.fixture
def line(tmp_path, monkeypatch, capsys):
    """Runs an experiment that trains by a function of the user's; the last line of stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_code.py").write_text(CODE)

    def run(function, **sections):
        models = {"own": {"component": "python", "train": f"failing_code:{function}"}}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({"name": "a", "models": models, **COMMON, **sections}))
        assert main(["run", "a.yaml", "--out", "out", "--tracking-uri", "sqlite:///m.db"]) == ExitCode.USAGE
        return capsys.readouterr().err.rstrip("\n").splitlines()[-1]

    return run


@pytest.mark.parametrize(("function", "words"), [("fails", ""), ("fails_later", "its model fails: ")])
def test_a_candidate_is_named(line, function, words):
    found = line(function, data={"component": "digits"}, pool={"models": 2, "records": 100})
    assert found.startswith(f"privassay: a.yaml: candidate own/none: failing_code:{function}: {words}{CLEAN}")
    assert len(found) < 500


@pytest.mark.parametrize(("function", "words"), [("fails", ""), ("fails_later", "its model fails: ")])
def test_a_reference_is_named(line, function, words, tmp_path):
    released.write_table(tmp_path)
    found = line(
        function,
        data={"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        targets={"forest": {"component": "python", "predict": "failing_code:opened"}},
        reference="own/none",
        pool={"models": 2},
    )
    assert found.startswith(f"privassay: a.yaml: reference own/none: failing_code:{function}: {words}{CLEAN}")


def test_foreign_text_is_one_short_line_that_no_terminal_obeys():
    assert shortened(" a\r\n\tb\x1b[2J\u202ec ") == "a b\ufffd[2J\ufffdc"
    assert shortened("a" * 200) == "a" * 200
    assert shortened("a" * 201) == f"{'a' * 200}..."
    assert told(KeyError("\x07")) == "KeyError: '\\x07'"
    assert told(ValueError("\x07")) == "ValueError: \ufffd"
