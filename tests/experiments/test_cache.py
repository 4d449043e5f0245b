"""The download helper against a web server on this machine."""

import functools
import hashlib
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from privassay.experiments._cache import Remote, fetch
from privassay.harness.errors import UsageError

CONTENT = b"records of nobody"
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves files and counts how often it was asked, without a word."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PRIVASSAY_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file.gz").write_bytes(CONTENT)
    Handler.asked = 0
    with HTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "site"))) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def closed_port():
    with HTTPServer(("127.0.0.1", 0), Handler) as briefly:
        return f"http://127.0.0.1:{briefly.server_port}"


def test_a_file_is_downloaded_once_under_its_canonical_name_without_a_word(cache, server, capfd):
    remote = Remote("set/file.gz", f"{server}/file.gz", MD5)
    assert fetch(remote) == cache / "set" / "file.gz"
    assert fetch(remote).read_bytes() == CONTENT
    assert Handler.asked == 1
    assert [path.name for path in (cache / "set").iterdir()] == ["file.gz"]
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_there_needs_neither_network_nor_a_writable_folder(cache, closed_port):
    cache.mkdir()
    (cache / "file.gz").write_bytes(CONTENT)
    cache.chmod(0o555)
    before = cache.stat().st_mtime_ns
    assert fetch(Remote("file.gz", f"{closed_port}/file.gz", MD5)).read_bytes() == CONTENT
    assert cache.stat().st_mtime_ns == before, "nothing was made there, not even for a moment"


def test_a_file_with_another_hash_is_replaced(cache, server):
    cache.mkdir()
    (cache / "file.gz").write_bytes(b"half a downl")
    assert fetch(Remote("file.gz", f"{server}/file.gz", MD5)).read_bytes() == CONTENT


def refusal(remote):
    with pytest.raises(UsageError) as caught:
        fetch(remote)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_network_one_line_tells_how_to_place_the_file_by_hand(cache, closed_port):
    address = f"{closed_port}/file.gz"
    assert refusal(Remote("set/file.gz", address, MD5)) == (
        f"{cache}/set/file.gz: no such file, and the download from {address} failed (no connection); download it by "
        f"hand and put it there, or set PRIVASSAY_CACHE to a folder that holds set/file.gz (md5 {MD5})"
    )


def test_what_came_with_another_hash_is_refused_and_not_kept(cache, server):
    message = refusal(Remote("file.gz", f"{server}/file.gz", "0" * 32))
    assert "no such file, and" in message
    assert "failed (what came has another hash)" in message
    assert list(cache.iterdir()) == []


def test_a_file_with_another_hash_is_named_when_it_cannot_be_replaced(cache, server):
    cache.mkdir()
    (cache / "gone.gz").write_bytes(b"half a downl")
    message = refusal(Remote("gone.gz", f"{server}/gone.gz", MD5))
    assert "gone.gz: the file there has another hash, and the download" in message
    assert "404" in message
    assert (cache / "gone.gz").read_bytes() == b"half a downl"


def test_a_cache_that_cannot_be_made_is_named(cache, server):
    cache.write_text("a file where the folder should be")
    assert "failed (" in refusal(Remote("set/file.gz", f"{server}/file.gz", MD5))
