"""The store: whole entries or none, verified on reading."""

import multiprocessing
import os
import signal
import time

import pytest
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.store import META, Store, key_of


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


def _write_forever(root):
    store = Store(root)
    for number in range(10_000):
        put(store, f"k{number}", b"x" * 50_000)


def test_kill_at_any_moment_leaves_only_whole_entries(tmp_path):
    writer = multiprocessing.get_context("spawn").Process(target=_write_forever, args=(tmp_path,))
    writer.start()
    while len(list(tmp_path.glob("step/k*"))) < 3:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    store = Store(tmp_path)
    entries = list(tmp_path.glob("step/k*"))
    assert len(entries) >= 3
    for entry in entries:
        assert (store.find("step", entry.name) / "sub" / "data").read_bytes() == b"x" * 50_000


def test_not_writable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="not writable"):
        Store(tmp_path / "file")


def test_key_ignores_order_and_sees_values():
    assert key_of("s", 1, {"a": 1, "b": 2}) == key_of("s", 1, {"b": 2, "a": 1})
    keys = {key_of("s", 1, {"a": 1}), key_of("s", 2, {"a": 1}), key_of("t", 1, {"a": 1}), key_of("s", 1, {"a": 1.5})}
    assert len(keys) == 4
