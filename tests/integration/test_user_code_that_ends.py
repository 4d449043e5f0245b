"""User code that ends the program, or prints: no verdict, and no spoiled output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from privassay.tests.support import released

COMMAND = [
    str(Path(sys.executable).with_name("privassay")),
    "run",
    "run.yaml",
    "--json",
    "--tracking-uri",
    "sqlite:///m.db",
]
CODE = "import sys\nprint('loading my model')\n\ndef opened():\n    {body}\n"
UNIFORM = "return lambda x: [[0.1] * 10] * len(x)"


@pytest.fixture
def folder(tmp_path):
    released.write_table(tmp_path)
    content = {
        "name": "ends",
        "data": {"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        "targets": {"mine": {"component": "python", "predict": "mine:opened"}},
        "attacks": {"loss": {}},
        "metrics": {"fprs": [0.1], "resamples": 100},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def run(folder, code):
    (folder / "mine.py").write_text(code)
    return subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize("code", ["import sys\nsys.exit(0)\n", CODE.format(body="sys.exit(0)")])
def test_an_exit_in_user_code_is_no_pass(folder, code):
    done = run(folder, code)
    assert done.returncode == 2
    assert "sys.exit(0)" in done.stderr.splitlines()[-1]
    assert not (folder / "out" / "evidence.json").exists()


def test_what_user_code_prints_is_not_in_the_json(folder):
    done = run(folder, CODE.format(body=UNIFORM))
    assert json.loads(done.stdout)["run_id"]
    assert "loading my model" in done.stderr
