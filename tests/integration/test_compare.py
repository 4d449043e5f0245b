"""Two real runs compared by the real command."""

import json
import shutil

import numpy as np
import pytest
from privassay.harness import cli, evidence
from privassay.harness.comparison import paired_differences
from privassay.harness.errors import ExitCode
from privassay.harness.stats import Resampling
from privassay.harness.types import ScoreTable
from privassay.tests.support.experiments import write

pytestmark = pytest.mark.filterwarnings("default")  # the command itself decides what libraries may say

ATTACKS = {"loss": {}, "lira": {}}


def run(folder, name, **changes):
    """Run the tiny experiment, undefended, and return its folder."""
    (folder / name).mkdir()
    experiment = write(folder / name, defenses={"none": {}}, attacks=ATTACKS, **changes)
    out = folder / name / "out"
    code = cli.main(["run", str(experiment), "--out", str(out), "--tracking-uri", f"sqlite:///{folder}/{name}.db"])
    assert code == ExitCode.PASS
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The approved run, and a new one that trains fifty times as long."""
    folder = tmp_path_factory.mktemp("compare")
    return run(folder, "approved", models__mlp__epochs=2), run(folder, "new", models__mlp__epochs=100)


def compare(*arguments):
    return cli.main(["compare", *map(str, arguments)])


def test_the_differences_are_those_of_the_score_files(runs, capsys):
    approved, new = runs
    assert compare(new, approved, "--json") == ExitCode.PASS
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["new"] == evidence.read(new / "evidence.json").run_id
    assert "mlp/none less mlp/none" in printed.err

    def table(out):
        with np.load(out / "restricted/scores/mlp/none/lira.npz") as arrays:
            return ScoreTable(*(arrays[name] for name in ("targets", "scores", "member", "scored")))

    expected = paired_differences(table(new), table(approved), (0.1,), Resampling(0.95, 100, 0))
    assert {name for name in found["differences"] if "/lira/" in name} == {f"mia/lira/{name}" for name in expected}
    assert found["differences"]["mia/lira/auc"]["value"] == pytest.approx(expected["auc"].value)
    assert found["differences"]["mia/loss/auc"]["low"] > 0  # longer training leaks more, and that is sure
    assert "more" in next(line for line in printed.err.splitlines() if line.startswith("mia/loss/auc"))


def test_what_is_left_out_is_said_and_a_failed_control_ends_it(runs, tmp_path, capsys):
    approved, new = runs
    changed = tmp_path / "changed"
    shutil.copytree(new, changed, ignore=shutil.ignore_patterns("store"))
    content = evidence.read(changed / "evidence.json")
    attacks = [a.model_copy(update={"status": "not_run", "metrics": {}}) if a.id == "lira" else a
               for a in content.candidates[0].attacks]  # fmt: skip
    candidate = content.candidates[0].model_copy(update={"attacks": tuple(attacks)})
    evidence.write(content.model_copy(update={"candidates": (candidate,)}), changed / "evidence.json")
    assert compare(changed, approved, "--json") == ExitCode.PASS
    printed = capsys.readouterr()
    assert json.loads(printed.out)["left_out"] == {"lira": "gave a result in one run only"}
    assert "lira: left out, gave a result in one run only" in printed.err
    broken = content.controls[0].model_copy(update={"status": "failed", "reason": "a leak"})
    evidence.write(content.model_copy(update={"controls": (broken,)}), changed / "evidence.json")
    assert compare(changed, approved) == ExitCode.ERROR
    assert "no result of this run counts" in capsys.readouterr().err


def complaint(capsys, *arguments):
    assert compare(*arguments) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_compared_is_said_in_one_line(runs, tmp_path, capsys):
    approved, _ = runs
    other = run(tmp_path, "other", seed=1, models__mlp__epochs=2)
    capsys.readouterr()
    assert "another split (pool.records, pool.models or seed)" in complaint(capsys, other, approved)
    assert "candidate 'mlp/dp_sgd': not in the evidence" in complaint(
        capsys, approved, approved, "--candidate", "mlp/dp_sgd"
    )
    assert "cannot be read" in complaint(capsys, tmp_path / "nowhere", approved)
    bare = tmp_path / "bare"
    shutil.copytree(approved, bare, ignore=shutil.ignore_patterns("store"))
    scores = bare / "restricted/scores/mlp/none/lira.npz"
    scores.write_bytes(scores.read_bytes() + b"x")
    assert "is not the file that the evidence lists" in complaint(capsys, bare, approved)
    shutil.rmtree(bare / "restricted")
    assert "both runs need their restricted scores" in complaint(capsys, bare, approved)
