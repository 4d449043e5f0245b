"""The store: whole entries or none, verified on reading."""

import errno
import fcntl
import gc
import json
import os
import threading
import time

import pytest
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.events import StepFinished, StepStarted, ignore
from privassay.harness.locks import is_held, release, wait_for
from privassay.harness.store import META, Store, abandoned, key_of, last_use


def put(store, key, content=b"x"):
    with store.entry("step", key) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_bytes(content)


def test_round_trip(tmp_path):
    store = Store(tmp_path)
    assert store.find("step", "k") is None
    put(store, "k", b"hello")
    folder = store.find("step", "k")
    assert (folder / "sub" / "data").read_bytes() == b"hello"


def test_exception_leaves_nothing(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(InfrastructureError), store.entry("step", "k") as folder:
        folder.write_bytes(b"half")  # a folder: fails while the entry is being filled
    assert store.find("step", "k") is None
    assert list((tmp_path / "step").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "remove", "no meta"])
def test_damaged_entry_is_not_read(tmp_path, damage):
    store = Store(tmp_path)
    put(store, "k", b"hello")
    file = tmp_path / "step" / "k" / "sub" / "data"
    if damage == "truncate":
        file.write_bytes(b"hel")
    elif damage == "remove":
        file.unlink()
    else:
        (tmp_path / "step" / "k" / META).unlink()
    assert store.find("step", "k") is None
    put(store, "k", b"again")
    assert (store.find("step", "k") / "sub" / "data").read_bytes() == b"again"


def test_second_writer_loses_quietly(tmp_path):
    store = Store(tmp_path)
    with store.entry("step", "k") as folder:
        (folder / "data").write_bytes(b"slow")
        put(store, "k", b"fast")
    assert (store.find("step", "k") / "sub" / "data").read_bytes() == b"fast"
    assert len(list((tmp_path / "step").iterdir())) == 1


def test_not_writable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="not writable"):
        Store(tmp_path / "file")


def test_key_ignores_order_and_sees_values():
    assert key_of("s", 1, {"a": 1, "b": 2}) == key_of("s", 1, {"b": 2, "a": 1})
    keys = {key_of("s", 1, {"a": 1}), key_of("s", 2, {"a": 1}), key_of("t", 1, {"a": 1}), key_of("s", 1, {"a": 1.5})}
    assert len(keys) == 4


def test_an_entry_says_what_it_is_and_when_it_was_used(tmp_path):
    store = Store(tmp_path)
    with store.entry("step", "k", "mlp/none model 3"):
        pass
    folder = tmp_path / "step" / "k"
    assert json.loads((folder / META).read_text())["about"] == "mlp/none model 3"
    os.utime(folder / META, (0, 0))
    assert last_use(folder) == 0
    store.find("step", "k")
    assert last_use(folder) >= store.in_use_since()


def test_an_intact_entry_is_never_replaced_a_damaged_one_is(tmp_path):
    store = Store(tmp_path)
    put(store, "k", b"first")
    put(store, "k", b"second")
    data = store.find("step", "k") / "sub" / "data"
    assert data.read_bytes() == b"first"
    data.write_bytes(b"damaged")
    put(store, "k", b"third")
    assert data.read_bytes() == b"third"
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["k"]


def test_remove_leaves_what_was_used_since(tmp_path):
    store = Store(tmp_path)
    put(store, "k")
    os.utime(tmp_path / "step" / "k" / META, (0, 0))
    decided = last_use(tmp_path / "step" / "k")
    assert store.find("step", "k")
    assert not store.remove("step", "k", decided)
    assert store.find("step", "k")
    assert store.remove("step", "k", last_use(tmp_path / "step" / "k"))
    assert store.find("step", "k") is None
    assert not store.remove("step", "k", decided)
    assert list((tmp_path / "step").iterdir()) == []


def test_temporary_folders_are_abandoned_with_their_store(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / ".writing-of_an_older_version").mkdir()
    with store.entry("step", "k"):
        assert [path.name for path in abandoned(tmp_path)] == [".writing-of_an_older_version"]
    del store
    gc.collect()
    assert len(list((tmp_path / ".users").iterdir())) == 1
    (tmp_path / ".users" / "dead").touch()
    other.sweep()
    assert len(list((tmp_path / ".users").iterdir())) == 1


def test_one_holder_a_key(tmp_path):
    one, two = Store(tmp_path), Store(tmp_path)
    with one.locked("step", "k"):
        with two.locked_if_free("step", "k") as free:
            assert not free
        with two.locked_if_free("step", "other") as free:
            assert free
    with two.locked_if_free("step", "k") as free:
        assert free
    assert list((tmp_path / "step" / ".locks").iterdir()) == []


def test_many_waiters_hold_a_lock_one_after_the_other(tmp_path):
    """Each holder removes the lock's file: whoever waited on the removed file must not count as a holder."""
    inside, most, entered = 0, 0, 0

    def work():
        nonlocal inside, most, entered
        store = Store(tmp_path)
        for _ in range(50):
            with store.locked("step", "k"):
                inside, entered = inside + 1, entered + 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, entered) == (1, 200)


def test_keys_of_others_come_last_and_waiting_is_said(tmp_path):
    one, two = Store(tmp_path), Store(tmp_path)
    lock = one.locked("step", "b")
    lock.__enter__()
    seen, order = [], []

    def observe(event):
        seen.append(event)
        if isinstance(event, StepStarted):
            lock.__exit__(None, None, None)

    for key in two.in_turn("step", ["a", "b", "c"], "work", observe):
        order.append(key)
        with one.locked_if_free("step", key) as free:
            assert not free
    assert order == ["a", "c", "b"]
    assert [type(event) for event in seen] == [StepStarted, StepFinished]
    assert {event.step for event in seen} == {"work: waiting for another process"}


def test_a_failure_at_work_lets_the_lock_go(tmp_path):
    store = Store(tmp_path)

    def work():
        for _ in store.in_turn("step", ["a"], "work", ignore):
            raise ValueError("attack failed")

    with pytest.raises(ValueError, match="attack failed"):
        work()
    with store.locked_if_free("step", "a") as free:
        assert free


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InfrastructureError, match=r"no file locks .*local disk"):
        Store(tmp_path)


def test_a_forked_child_lets_go_of_nothing_that_its_parent_holds(tmp_path):
    parents = wait_for(tmp_path / "parent")
    child = os.fork()
    if not child:  # the number of the parent's descriptor is as a rule given again, to the child's own lock
        own = wait_for(tmp_path / "child")
        release(parents)
        os._exit(0 if is_held(own.path) and parents.path.exists() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_held(parents.path)
    release(parents)
    assert not parents.path.exists()
