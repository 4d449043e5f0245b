"""The whole mission, small, through the real command."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from privassay.harness import cli, evidence, gate, pipeline, plan
from privassay.harness.errors import ExitCode
from privassay.harness.events import ignore
from privassay.tests.support.experiments import write

PRIVASSAY = [sys.executable, "-W", "ignore", "-m", "privassay.harness.cli"]

pytestmark = pytest.mark.filterwarnings("default")  # the command itself decides what libraries may say

POLICY = """
apiVersion: privassay/policy/v1
name: test
rules:
- {id: mia, metric: "mia/*/auc", max: %s}
"""


def command(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "strict.yaml").write_text(POLICY % 0.1)
    experiment = write(folder, policy="strict.yaml")
    code = command("run", experiment, "--out", folder / "out", "--tracking-uri", f"sqlite:///{folder}/m.db")
    return folder, code


def numbers(folder):
    """All of the evidence but when and where it was made."""
    content = json.loads((folder / "evidence.json").read_text())
    return {key: value for key, value in content.items() if key not in ("created", "provenance")}


def test_everything_comes_out(finished):
    folder, code = finished
    assert code == ExitCode.FAIL
    found = evidence.read(folder / "out" / "evidence.json")
    assert [c.id for c in found.candidates] == ["mlp/none", "mlp/output_perturbation"]
    for candidate in found.candidates:
        assert {a.id: a.status for a in candidate.attacks} == dict.fromkeys(
            ("loss", "lira", "art_rule_based", "art_miface"), "ok"
        )
        assert set(candidate.utility) == {"train_accuracy", "heldout_accuracy"}
        assert candidate.claim is None
    assert {c.id for c in found.controls} == {"shuffled_membership", "planted_leak", "model_free_baseline"}
    assert {v.verdict.value for v in found.verdicts} <= {"FAIL", "ERROR"}
    for artifact in found.artifacts:
        assert evidence.file_sha256(folder / "out" / artifact.path) == artifact.sha256
    assert "mlp/output_perturbation" in (folder / "out" / "report.html").read_text()
    assert (folder / "out" / "junit.xml").read_text().count("<testcase") == 2
    assert (folder / "m.db").is_file()


def test_suite_and_primary_reach_evidence_controls_and_report(tmp_path):
    changes = {"suite": "auto", "primary": "rmia", "attacks": None, "pool__models": 4, "defenses": {"none": {}}}
    made = plan.make(write(tmp_path, models__mlp__epochs=3, **changes))
    out = tmp_path / "out"
    out.mkdir()
    found = pipeline.run(made, out, ignore)
    assert found == evidence.read(out / "evidence.json")
    assert found.primary == "rmia"
    assert (found.suite.name, found.suite.reference_models) == ("auto", 2)
    assert found.suite.attacks == tuple(attack.id for attack in found.candidates[0].attacks)
    assert [control.status for control in found.controls] == ["passed"] * 3
    assert found.controls[1].expectation.startswith("rmia/auc catches")
    shown = (out / "report.html").read_text()
    assert "Primary attack of this experiment file: rmia." in shown
    assert "2 reference models: from 2 on" in shown


def test_a_split_that_needs_no_model_to_be_told_ends_in_error(tmp_path):
    (tmp_path / "strict.yaml").write_text(POLICY % 1.0)
    changes = {"attacks": {"loss": {}}, "pool__models": 2, "defenses": {"none": {}}, "policy": "strict.yaml"}
    made = plan.make(write(tmp_path, models__mlp__epochs=3, **changes))
    pixel = made.dataset.x[made.split.pool, 4, 4] + 1e-6 * made.split.pool  # ties by number
    member = np.stack([pixel < np.median(pixel), pixel >= np.median(pixel)])
    shifted = dataclasses.replace(made, split=dataclasses.replace(made.split, member=member))
    out = tmp_path / "out"
    out.mkdir()
    found = pipeline.run(shifted, out, ignore)
    assert {control.id: control.status for control in found.controls} == {
        "shuffled_membership": "passed",
        "planted_leak": "passed",
        "model_free_baseline": "failed",
    }
    (verdict,) = found.verdicts
    assert (verdict.verdict.value, verdict.estimate) == ("ERROR", None)
    assert gate.exit_code_without_policy(found) == ExitCode.ERROR
    assert "draw both from one source by a coin" in " ".join((out / "report.html").read_text().split())


def test_unresolvable_fpr_is_left_out(finished):
    folder, _ = finished
    metrics = evidence.read(folder / "out" / "evidence.json").candidates[0].attacks[0].metrics
    assert "tpr_at_fpr_0.1" in metrics
    code = command(
        "run", folder / "tiny.yaml", "--out", folder / "fine", "--set", "metrics.fprs=[0.1, 0.01]",
        "--tracking-uri", f"sqlite:///{folder}/m.db", "--report-only",
    )  # fmt: skip
    assert code == ExitCode.PASS
    metrics = evidence.read(folder / "fine" / "evidence.json").candidates[0].attacks[0].metrics
    assert "tpr_at_fpr_0.01" not in metrics  # 200 records x 0.01 is fewer than 10 false positives


def test_same_seed_same_numbers_in_a_fresh_store(finished):
    folder, _ = finished
    uri = f"sqlite:///{folder}/m.db"
    command("run", folder / "tiny.yaml", "--out", folder / "again", "--tracking-uri", uri)
    assert numbers(folder / "again") == numbers(folder / "out")


def test_what_an_earlier_run_left_is_removed(finished):
    folder, _ = finished
    out, uri = folder / "again", f"sqlite:///{folder}/m.db"
    mine = out / "release" / "my.whl"
    mine.write_text("not ours")
    command("run", folder / "tiny.yaml", "--out", out, "--set", "candidates=[mlp/none]", "--tracking-uri", uri)
    curves = out / "release" / "curves" / "mlp"
    assert (curves / "none" / "loss.json").is_file()
    assert not list(curves.glob("output_perturbation/*"))
    assert mine.is_file()


def test_other_seed_other_numbers(finished):
    folder, _ = finished
    uri = f"sqlite:///{folder}/m.db"
    command("run", folder / "tiny.yaml", "--out", folder / "seed", "--seed", "1", "--tracking-uri", uri)
    assert numbers(folder / "seed")["candidates"] != numbers(folder / "out")["candidates"]


def written(store):
    """Inode of every file of every entry; times tell when an entry was last used."""
    return {path: path.stat().st_ino for path in store.glob("*/[0-9a-f]*/**/*") if path.is_file()}


def test_second_run_repeats_nothing(finished):
    folder, _ = finished
    out, uri = folder / "out", f"sqlite:///{folder}/m.db"
    before = written(out / "store")
    command("run", folder / "tiny.yaml", "--out", out, "--tracking-uri", uri)
    assert written(out / "store") == before


@pytest.mark.parametrize(
    ("limit", "candidate", "code"), [(0.1, "mlp/none", ExitCode.FAIL), (1.0, "mlp/none", ExitCode.PASS)]
)
def test_gate_on_finished_evidence(finished, tmp_path, limit, candidate, code, capsys):
    folder, _ = finished
    (tmp_path / "policy.yaml").write_text(POLICY % limit)
    found = command(
        "gate", folder / "out", "--policy", tmp_path / "policy.yaml", "--candidate", candidate,
        "--junit", tmp_path / "j.xml", "--json",
    )  # fmt: skip
    assert found == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["exit_code"] == code
    assert (tmp_path / "j.xml").is_file()


def test_gate_names_the_attack(finished, tmp_path, capsys):
    folder, _ = finished
    (tmp_path / "policy.yaml").write_text(POLICY % 0.1)
    command("gate", folder / "out", "--policy", tmp_path / "policy.yaml", "--candidate", "mlp/none")
    assert "mia/" in capsys.readouterr().err


def test_report_again(finished, tmp_path):
    folder, _ = finished
    assert command("report", folder / "out", "--out", tmp_path / "again.html") == ExitCode.PASS
    assert (tmp_path / "again.html").read_text() == (folder / "out" / "report.html").read_text()


def test_unreachable_server_keeps_results_and_says_how_to_log_later(finished, tmp_path, capsys):
    folder, _ = finished
    closed = "http://127.0.0.1:9"
    code = command("run", folder / "tiny.yaml", "--out", folder / "out", "--tracking-uri", closed, "--report-only")
    assert code == ExitCode.PASS  # report-only
    message = [line for line in capsys.readouterr().err.splitlines() if closed in line][-1]
    assert f"privassay log {folder / 'out'} --tracking-uri" in message
    assert command("run", folder / "tiny.yaml", "--out", folder / "out", "--tracking-uri", closed) == ExitCode.ERROR
    assert command("log", folder / "out", "--tracking-uri", f"sqlite:///{tmp_path}/later.db") == ExitCode.PASS


def test_policy_that_matches_nothing_costs_no_results(finished, tmp_path, capsys):
    folder, _ = finished
    (folder / "lost.yaml").write_text(POLICY.replace("mia/*/auc", "mia/*/acu") % 0.5)
    code = command(
        "run", folder / "tiny.yaml", "--out", folder / "out", "--set", "policy=lost.yaml",
        "--tracking-uri", f"sqlite:///{folder}/m.db",
    )  # fmt: skip
    assert code == ExitCode.USAGE
    assert "mia/*/acu" in capsys.readouterr().err.splitlines()[-1]
    assert evidence.read(folder / "out" / "evidence.json").candidates
    command("run", folder / "tiny.yaml", "--out", folder / "out", "--tracking-uri", f"sqlite:///{folder}/m.db")


def run_process(*arguments, **kwargs):
    return subprocess.run(
        [*PRIVASSAY, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **kwargs
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["gate", "nowhere", "--policy", "nowhere.yaml"], 2, "cannot be read"),
        (["report", "nowhere"], 2, "cannot be read"),
        (["run"], 2, "EXPERIMENT.yaml"),
        (["frobnicate"], 2, "invalid choice"),
    ],
)
def test_bad_command_lines(tmp_path, arguments, code, message):
    done = run_process(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_folder_in_the_way(tmp_path):
    experiment = write(tmp_path)
    (tmp_path / "out").write_text("a file")
    done = run_process("run", experiment, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "not writable" in done.stderr
    assert "Traceback" not in done.stderr


def stopped_while_training(experiment, out, with_signal):
    """Exit code and stderr of a run that got a signal once two models were in the store."""
    command = [*PRIVASSAY, "run", str(experiment), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=out.parent)
    deadline = time.monotonic() + 100
    while len(list(out.glob("store/train/[0-9a-f]*/meta.json"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(with_signal)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize(
    ("with_signal", "code", "word"),
    [(signal.SIGINT, cli.INTERRUPTED, "interrupted"), (signal.SIGTERM, cli.TERMINATED, "terminated")],
)
def test_a_stopped_run_keeps_what_was_finished(tmp_path, with_signal, code, word):
    experiment = write(tmp_path, pool__models=40, models__mlp__epochs=200)
    out = tmp_path / "out"
    found, errors = stopped_while_training(experiment, out, with_signal)
    assert found == code
    assert word in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert len(list(out.glob("store/train/[0-9a-f]*/meta.json"))) >= 2
    assert not (out / "evidence.json").exists()


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path):
    experiment = write(tmp_path, pool__models=24, models__mlp__epochs=100, attacks={"loss": {}, "lira": {}})
    code, _ = stopped_while_training(experiment, tmp_path / "killed", signal.SIGKILL)
    assert code == -signal.SIGKILL
    finished = written(tmp_path / "killed" / "store")
    assert finished
    for out in ("killed", "whole"):
        done = run_process("run", experiment, "--out", tmp_path / out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    again = written(tmp_path / "killed" / "store")
    assert {path: again[path] for path in finished} == finished  # nothing that was finished was done again
    logits = [sorted((tmp_path / out / "store").glob("train/[0-9a-f]*/logits.npy")) for out in ("killed", "whole")]
    assert len(logits[0]) == 24 + 8 + 8  # and those of the planted control and of the model-free baseline
    for one, other in zip(*logits, strict=True):
        assert one.read_bytes() == other.read_bytes()
    restricted = [(tmp_path / out / "restricted").rglob("*.npz") for out in ("killed", "whole")]
    for one, other in zip(*map(sorted, restricted), strict=True):
        assert one.read_bytes() == other.read_bytes()


PLUGIN = '''
import dataclasses
import numpy as np
from privassay.harness.types import Dataset, Scores, ThreatModel

@dataclasses.dataclass(frozen=True)
class Guess:
    """A coin."""
    family = "membership"
    implementation = "toy"
    threat_model = ThreatModel("labels", False, False, 0, 1)
    def score(self, view, candidates, context):
        return Scores(candidates.ids, np.random.default_rng(context.seed).random(len(candidates)))

@dataclasses.dataclass(frozen=True)
class Holes:
    """Data with a hole."""
    def load(self):
        x = np.zeros((500, 4), np.float32); x[3] = np.nan
        return Dataset("holes", x, np.arange(500) % 2, 2, (0.0, 1.0), True, "none")
'''


@pytest.fixture
def plugin(tmp_path):
    """A third party's installed package, found through its entry points."""
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    info = tmp_path / "toy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[privassay.attacks]\nguess = toy_plugin:Guess\n[privassay.datasets]\nholes = toy_plugin:Holes\n"
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_third_party_components_join_by_entry_point(plugin, tmp_path):
    experiment = write(tmp_path, attacks={"guess": {}, "loss": {}}, defenses={"none": {}}, pool__models=6)
    done = run_process("run", experiment, "--out", tmp_path / "out", cwd=tmp_path, env=plugin)
    assert done.returncode == 0, done.stderr
    attacks = evidence.read(tmp_path / "out" / "evidence.json").candidates[0].attacks
    assert (attacks[0].id, attacks[0].implementation, attacks[0].status) == ("guess", "toy", "ok")
    assert attacks[0].metrics["auc"].low < 0.5 < attacks[0].metrics["auc"].high


def test_bad_data_is_one_line_and_nothing_is_written(plugin, tmp_path):
    experiment = write(tmp_path, data={"component": "holes"})
    done = run_process("run", experiment, "--out", tmp_path / "out", cwd=tmp_path, env=plugin)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.strip().endswith("holes: record 3 holds NaN or infinity; features must be finite")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_help_needs_no_heavy_module():
    probe = "import sys; from privassay.harness import cli; cli._parser().format_help(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert not loaded & {"numpy", "torch", "tensorflow", "art", "mlflow", "sklearn", "rich", "pydantic", "yaml"}


def test_installed_script_is_the_module():
    script = Path(sys.executable).with_name("privassay")
    if not script.exists():
        pytest.skip("the privassay script is not installed beside this Python")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "Exit codes: 0 pass, 1 policy violated" in " ".join(done.stdout.split())
