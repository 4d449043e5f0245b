"""Several processes, killed processes: nothing is done twice, nothing half-written is read."""

import multiprocessing
import os
import random
import signal
import time

import pytest
from privassay.harness import training as harness_training
from privassay.harness.events import StepAdvanced, StepStarted
from privassay.harness.store import META, Store, abandoned
from privassay.harness.store_admin import prune
from privassay.tests.support import counting

MODELS = 24
SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")
LONGEST = 20


@pytest.fixture(autouse=True)
def _block(monkeypatch):
    monkeypatch.setattr(harness_training, "BLOCK", harness_training.BLOCK)  # put back what `counting.train` sets


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Logits of the pool, trained by one process in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return answers(counting.train(folder / "store", folder / "log", MODELS, 64))


def answers(pool):
    return [pool.logits(k).tobytes() for k in range(MODELS)]


def finished(root):
    """Keys of the entries, and when their logits were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("train/[0-9a-f]*/logits.npy")}


def wait_until(condition):
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_killed_at_random_moments_repeats_nothing_that_was_finished(tmp_path, undisturbed):
    root, log = tmp_path / "store", tmp_path / "log"
    moments = random.Random(0)
    before, kills = {}, 0
    while len(before) < MODELS - 8:  # far enough from the end that no process gets there before it is killed
        process = FORK.Process(target=counting.train, args=(root, log, MODELS, 5))
        process.start()
        goal = len(before) + moments.randrange(1, 3)
        wait_until(lambda goal=goal: len(finished(root)) >= goal)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        now = finished(root)
        assert before.items() <= now.items()
        before = now
    assert kills >= 3
    pool = counting.train(root, log, MODELS, 5)
    assert before.items() <= finished(root).items()
    assert answers(pool) == undisturbed
    began = counting.trained(log)
    assert len(set(began)) == MODELS
    assert len(began) <= MODELS + kills  # each kill can cost the one model that was in hand

    prune(Store(root), days=30)
    assert abandoned(root) == []
    assert len(finished(root)) == MODELS
    assert list(root.glob("*/.locks/*")) == []


@pytest.mark.parametrize("block", [1, 5, 64])
def test_two_processes_train_each_model_once(tmp_path, undisturbed, block):
    root, log = tmp_path / "store", tmp_path / "log"
    others = [FORK.Process(target=counting.train, args=(root, log, MODELS, block)) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(LONGEST)
        assert process.exitcode == 0
    began = counting.trained(log)
    assert len(began) == len(set(began)) == MODELS
    assert answers(counting.train(root, log, MODELS, block)) == undisturbed
    assert len(counting.trained(log)) == MODELS


def test_a_smaller_and_a_larger_pool_agree_on_the_blocks(tmp_path):
    root, log = tmp_path / "store", tmp_path / "log"
    others = [FORK.Process(target=counting.train, args=(root, log, models, 16)) for models in (18, MODELS)]
    for process in others:
        process.start()
    for process in others:
        process.join(LONGEST)
        assert process.exitcode == 0
    assert len(counting.trained(log)) == MODELS


def test_waiting_is_said_and_what_the_other_did_counts(tmp_path, undisturbed):
    """The only block is locked by a process that is killed with part of it done."""
    root, log = tmp_path / "store", tmp_path / "log"
    other = FORK.Process(target=counting.train, args=(root, log, MODELS, 64))
    other.start()
    wait_until(lambda: len(finished(root)) >= 2)
    os.kill(other.pid, signal.SIGSTOP)
    known = len(finished(root))
    seen = []

    def observe(event):
        seen.append(event)
        if isinstance(event, StepStarted) and "waiting for another process" in event.step:
            os.kill(other.pid, signal.SIGCONT)
            wait_until(lambda: len(finished(root)) > known)
            os.kill(other.pid, signal.SIGKILL)

    pool = counting.train(root, log, MODELS, 64, observe)
    other.join(LONGEST)
    assert answers(pool) == undisturbed
    assert seen[0] == StepStarted("train linear/none", MODELS, known)
    assert seen[1].step == "train linear/none: waiting for another process"
    assert len([e for e in seen if isinstance(e, StepAdvanced)]) == MODELS - known
    assert len(counting.trained(log)) <= MODELS + 1


def hold(root, ready):
    store = Store(root)
    with store.locked("step", "k"), store.entry("step", "half") as folder:
        (folder / "data").write_bytes(b"half")
        store.find("step", "0" * 64)
        ready.set()
        time.sleep(LONGEST)


def test_prune_leaves_alone_what_a_living_process_uses(tmp_path):
    mine, old = "0" * 64, "1" * 64
    store = Store(tmp_path)
    for key in (mine, old):
        with store.entry("step", key) as folder:
            (folder / "data").write_bytes(b"whole")
        os.utime(tmp_path / "step" / key / META, (0, 0))
    ready = SPAWN.Event()
    other = SPAWN.Process(target=hold, args=(tmp_path, ready))
    other.start()
    assert ready.wait(LONGEST)
    freed = prune(store, days=0)
    assert (freed.entries, freed.abandoned, freed.kept) == (1, 0, 1)
    assert (tmp_path / "step" / mine).is_dir()
    with store.locked_if_free("step", "k") as free:
        assert not free

    os.kill(other.pid, signal.SIGKILL)
    other.join()
    with store.locked_if_free("step", "k") as free:
        assert free
    os.utime(tmp_path / "step" / mine / META, (0, 0))
    freed = prune(store, days=0)
    assert (freed.entries, freed.abandoned, freed.kept) == (1, 1, 0)
    assert freed.bytes >= len(b"whole") + len(b"half")


def hold_and_leave_a_child(root, ready):
    """A worker that outlives its parent, as workers of a killed process may."""
    with Store(root).locked("step", "k"):
        child = os.fork()
        if child == 0:
            time.sleep(LONGEST)
            os._exit(0)
        ready.put(child)
        time.sleep(LONGEST)


def test_a_lock_ends_with_its_process_not_with_its_children(tmp_path):
    ready = FORK.SimpleQueue()
    parent = FORK.Process(target=hold_and_leave_a_child, args=(tmp_path, ready))
    parent.start()
    child = ready.get()
    time.sleep(0.05)  # the child forgets what it inherited as soon as it runs
    try:
        with Store(tmp_path).locked_if_free("step", "k") as free:
            assert not free
        os.kill(parent.pid, signal.SIGKILL)
        parent.join()
        with Store(tmp_path).locked_if_free("step", "k") as free:
            assert free
    finally:
        os.kill(child, signal.SIGKILL)
