"""The shipped experiments on released models, and what becomes of a server that the command started."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from privassay.experiments import released_demo
from privassay.experiments.released_demo import ReleasedDigits
from privassay.harness import evidence, plan
from privassay.harness.errors import ExitCode
from privassay.tests.support import own_server

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
PRIVASSAY = [sys.executable, "-W", "ignore", "-m", "privassay.harness.cli"]
RECORDS = 600  # in batches of 64
CHECKED = 2 + 2 * 16  # records in the requests of `open` and of those by which the model is recognised
FIRST = CHECKED + 7 * 64  # and in those of seven batches


def start(experiment, folder, *options):
    """The command in a process of its own, as a shell would start it."""
    words = ["run", str(experiment), "--out", str(folder / "out"), "--tracking-uri", f"sqlite:///{folder}/m.db"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STARTED_FOR": str(folder)}
    return subprocess.Popen([*PRIVASSAY, *words, *options], stderr=subprocess.PIPE, text=True, env=environment)


def finish(process):
    """Exit code and stderr."""
    words = process.communicate(timeout=280)[1]
    return process.returncode, words


def audit_of_own_server(folder, **behaviour):
    """An experiment on a server of the test, which answers ten classes."""
    own_server.behave(folder, classes=10, **behaviour)
    path = folder / "audit.yaml"
    content = {
        "name": "audit",
        "data": {"component": "released_digits", "records": RECORDS},
        "targets": {"model": {"component": "served", "command": list(own_server.command(folder)), "retries": 0}},
        "attacks": {"loss": {}},
        "metrics": {"fprs": [0.1], "resamples": 100},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def origin(folder):
    return evidence.read(folder / "out" / "evidence.json").candidates[0].origin


def test_after_a_crash_of_the_server_only_what_is_missing_is_asked(tmp_path):
    code, words = finish(start(audit_of_own_server(tmp_path, reach=FIRST + 20, then="die"), tmp_path))
    assert code == ExitCode.ERROR
    assert "no answer" in words
    assert "the server ended with code -9: out of memory" in words
    assert own_server.running(tmp_path) == []
    assert sum(own_server.asked(tmp_path)) == FIRST

    (tmp_path / "asked").unlink()
    process = start(audit_of_own_server(tmp_path), tmp_path)
    own_server.await_file(tmp_path / "out/store/attack")  # the attack has begun: all records have answers
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert sum(own_server.asked(tmp_path)) == CHECKED + RECORDS - 7 * 64
    assert own_server.running(tmp_path) == []


@pytest.mark.slow
def test_no_server_is_left_after_success(tmp_path):
    for queries in (RECORDS, 0):
        code, words = finish(start(audit_of_own_server(tmp_path), tmp_path))
        assert code == ExitCode.PASS, words
        assert own_server.running(tmp_path) == []
        assert (origin(tmp_path).queries, origin(tmp_path).kept_answers) == (queries, RECORDS - queries)
        assert "{port}" in origin(tmp_path).source


@pytest.mark.slow
def test_no_server_is_left_after_a_cancelled_job(tmp_path):
    process = start(audit_of_own_server(tmp_path, reach=FIRST, then="wait"), tmp_path)
    own_server.await_file(tmp_path / "waits")
    process.send_signal(signal.SIGTERM)
    code, words = finish(process)
    assert code == 143
    assert "what was finished is kept" in words
    assert own_server.running(tmp_path) == []


def test_no_server_is_left_after_an_interruption_of_its_start(tmp_path):
    process = start(audit_of_own_server(tmp_path, never_ready=True), tmp_path)
    own_server.await_file(tmp_path / "pids")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert own_server.running(tmp_path) == []


def test_membership_of_the_demonstration_does_not_depend_on_how_many_records_are_taken():
    whole, part = ReleasedDigits().load(), ReleasedDigits(records=300).load()
    assert np.bincount(whole.released_member + 1).tolist() == [357, 720, 720]
    known = {x.tobytes(): (m, y) for x, m, y in zip(whole.x, whole.released_member, whole.y, strict=True)}
    assert len(part) == 300
    assert all(known[x.tobytes()] == (m, y) for x, m, y in zip(part.x, part.released_member, part.y, strict=True))
    assert set(part.released_member.tolist()) == {-1, 0, 1}


def test_the_shipped_table_of_answers_is_what_its_command_writes(tmp_path):
    """Forests are the same with the same version of scikit-learn; the file's comment names it."""
    assert released_demo.main(["predictions", str(tmp_path)]) == 0
    with np.load(tmp_path / "predictions.npz") as made, np.load(EXPERIMENTS / "predictions.npz") as shipped:
        assert set(made.files) == set(shipped.files)
        for name in made.files:
            np.testing.assert_array_equal(made[name], shipped[name], err_msg=name)
    assert (EXPERIMENTS / "predictions.npz").stat().st_size < 300_000


def test_the_table_experiment_is_sound():
    made = plan.make(EXPERIMENTS / "predictions.yaml")
    members = made.split.member.sum(axis=1)
    assert members.tolist() == [720] * 9
    assert len(made.split.auxiliary) == 357
    np.testing.assert_array_equal(made.split.member[1], ~made.split.member[2])
    assert set(made.dataset.sensitive["ink"]) == {"light", "medium", "heavy"}
    assert made.config.references == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predictions", "endpoint"])
def test_a_shipped_experiment_from_start_to_verdict(tmp_path, name):
    begin = time.monotonic()
    code, words = finish(start(EXPERIMENTS / f"{name}.yaml", tmp_path))
    print(f"{name}: {time.monotonic() - begin:.0f} s")
    assert code == ExitCode.FAIL, words
    found = evidence.read(tmp_path / "out" / "evidence.json")
    assert [control.status for control in found.controls] == ["passed"] * 3
    (candidate,) = found.candidates
    assert {attack.status for attack in candidate.attacks} == {"ok"}
    assert {v.rule: v.verdict.value for v in found.verdicts} == {
        "mia-low-fpr": "FAIL",
        "mia-auc": "FAIL",
        "accuracy": "PASS",
    }
    assert candidate.utility["train_accuracy"].value == 1.0
    assert found.experiment["pool"]["models"] == 8
    assert started_for(tmp_path) == []


def started_for(folder):
    """Processes that the command of `start` has left, by an environment variable that they inherit (Linux only)."""
    mark = f"STARTED_FOR={folder}".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in file.read_bytes().split(b"\0"):
                found.append(file.with_name("cmdline").read_text())
    return found
