"""Pools of scikit-learn models: the same models as one by one, and nothing left behind however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.protocols import PoolRecipe
from privassay.harness.types import TrainingData
from privassay.models import _processes
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_random_forest import SklearnRandomForest

RECIPES = [SklearnLogisticRegression(), SklearnRandomForest(n_estimators=20)]
both = pytest.mark.parametrize("recipe", RECIPES, ids=["logistic_regression", "random_forest"])
POOL = 6


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def halves(data) -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [np.sort(generator.permutation(1200)[: 300 + k]) for k in range(POOL)]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def workers(session: int) -> list[int]:
    """Living worker processes of a session; a process that is dead but not yet fetched has no command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:  # it has just ended
            continue
        if b"popen_loky" in command and int(status.rpartition(")")[2].split()[3]) == session:
            found.append(int(folder.name))
    return found


def own_workers() -> list[int]:
    """Those of this process; under pytest-xdist others share the session."""
    return [pid for pid in workers(os.getsid(0)) if parent(pid) == os.getpid()]


def status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@both
def test_a_pool_is_the_models_one_by_one_in_order(recipe, data, halves):
    assert isinstance(recipe, PoolRecipe)
    pool = list(recipe.fit_pool(data, halves, range(POOL)))
    assert len(pool) == POOL
    for k, model in enumerate(pool):
        np.testing.assert_array_equal(model.logits(data.x), recipe.fit(data, halves[k], seed=k).logits(data.x))


def test_processes_give_the_same_models_in_order_until_one_refuses(data, halves, temporary):
    """The regression, whose sums could depend on the number of threads."""
    recipe, one_class = RECIPES[0], np.flatnonzero(data.y == 4)
    tasks = [(rows, k) for k, rows in enumerate([*halves, one_class])]
    pool = _processes.on_processes(recipe, data, tasks, workers=2)
    for k in range(POOL):
        expected = recipe.fit(data, halves[k], seed=k).logits(data.x)
        np.testing.assert_array_equal(next(pool).logits(data.x), expected)
    with pytest.raises(UsageError, match=r"hold classes \[4\]: must hold at least two"):
        next(pool)
    assert list(temporary.iterdir()) == []
    assert own_workers() == []


def test_large_jobs_go_to_processes_and_a_consumer_who_leaves_early_leaves_nothing(
    data, halves, temporary, monkeypatch
):
    monkeypatch.setattr(_processes, "START_UP", 0.0)
    monkeypatch.setattr(_processes, "cores", lambda: 2)
    recipe = RECIPES[1]
    pool = recipe.fit_pool(data, [halves[k % POOL] for k in range(1000)], range(1000))
    for k in range(POOL):
        expected = recipe.fit(data, halves[k], seed=k).logits(data.x)
        np.testing.assert_array_equal(next(pool).logits(data.x), expected)
        assert len(list(temporary.glob("*/*.pickle"))) <= 4, "the workers run away from the consumer"
    assert len(own_workers()) == 2
    pool.close()
    assert list(temporary.iterdir()) == []
    assert own_workers() == []


SCRIPT = """
import time
import numpy as np
from privassay.harness.types import TrainingData
from privassay.models import _processes
class Napping:
    def fit(self, data, rows, seed):
        time.sleep(0.05)
        return seed
data = TrainingData(np.zeros((2, 1), np.float32), np.arange(2), 2, (0.0, 1.0))
for model in _processes.on_processes(Napping(), data, [(np.arange(2), k) for k in range(10000)], 2):
    print("model", model, flush=True)
"""


@pytest.fixture
def run(tmp_path):
    """A script that does not guard its main module, in a session of its own, after its first model."""
    arguments = [sys.executable, "-W", "error", "-c", SCRIPT]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=environment
    ) as started:
        assert started.stdout.readline() == "model 0\n"
        assert len(workers(started.pid)) == 2
        yield started
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)


def test_ctrl_c_in_a_terminal_is_answered_once_and_leaves_nothing(run, tmp_path):
    blocked = [line.split()[1] for pid in workers(run.pid) for line in status(pid) if line.startswith("SigBlk")]
    assert [int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in blocked] == [1, 1], "a worker would answer too"
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert workers(run.pid) == []
    assert list(tmp_path.iterdir()) == []


def test_workers_end_with_a_process_that_was_killed(run):
    run.kill()
    run.communicate(timeout=60)  # returns when all who inherited the pipes have closed them
    assert workers(run.pid) == []


@dataclass(frozen=True)
class Napping:
    """A recipe whose models know in which process they were made."""

    seconds: float

    def untrained(self, seed):
        return None

    def fit(self, data, rows, seed):
        time.sleep(self.seconds)
        return os.getpid()


@pytest.mark.parametrize("models", [0, 1, 3])
def test_small_jobs_stay_in_this_process(data, models):
    made = _processes.fit_in_order(Napping(0.0), data, [np.arange(5)] * models, range(models))
    assert isinstance(made, Iterator)
    assert list(made) == [os.getpid()] * models


def test_processes_must_be_worth_their_start():
    assert _processes.worth_processes(seconds=1.0, models=63, workers=2)
    assert not _processes.worth_processes(seconds=0.01, models=63, workers=2)
    assert not _processes.worth_processes(seconds=60.0, models=1, workers=1)
    start = _processes.START_UP
    assert not _processes.worth_processes(seconds=start, models=2, workers=2), "what is saved is what is spent"
    assert _processes.worth_processes(seconds=1.01 * start, models=2, workers=2)


def test_rows_and_seeds_that_do_not_match_are_an_error(data, halves):
    with pytest.raises(ValueError, match="shorter"):
        list(RECIPES[1].fit_pool(data, halves[:2], [0]))
