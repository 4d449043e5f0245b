"""A server to be started by a run: `python own_server.py PORT FOLDER`, with a child, in the standard library only.

It answers records of three classes (or `classes`) as `behaviour.json` in the folder says, and writes there who it is
(`pids`) and how many records each request had (`asked`).
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.{}); print(flush=True); time.sleep(600)"


def answers(records, classes=3):
    """Probabilities that depend on the record only: lists (n, classes)."""
    weights = [[1 + (int(1000 * total(record)) + 7 * c) % classes for c in range(classes)] for record in records]
    return [[w / sum(row) for w in row] for row in weights]


def total(record):
    return sum(map(total, record)) if isinstance(record, list) else record


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(503 if self.server.behaviour.get("never_ready") else 200, "pong")

    def do_POST(self):
        records = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        self.server.left -= len(records)
        if self.server.left < 0:
            self.at_the_end(self.server.behaviour["then"])
            return
        with (self.server.folder / "asked").open("a") as log:
            log.write(f"{len(records)}\n")
        self.reply(200, json.dumps({"predictions": answers(records, self.server.behaviour.get("classes", 3))}))

    def at_the_end(self, then):
        if then == "die":
            print("out of memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            (self.server.folder / "waits").touch()
            time.sleep(600)

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


def main(port, folder):
    file = folder / "behaviour.json"
    behaviour = json.loads(file.read_text()) if file.exists() else {}
    manner = "SIG_IGN" if behaviour.get("stubborn") else "SIG_DFL"
    signal.signal(signal.SIGTERM, getattr(signal, manner))
    child = subprocess.Popen([sys.executable, "-c", SLEEPER.format(manner)], stdout=subprocess.PIPE)
    child.stdout.readline()
    (folder / "pids").write_text(f"{os.getpid()} {child.pid}")
    if "says" in behaviour:
        print(behaviour["says"], file=sys.stderr)
        sys.exit(3)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        server.behaviour, server.folder, server.left = behaviour, folder, behaviour.get("reach", 10**9)
        server.serve_forever()


def command(folder):
    """The words that start it."""
    return ("{python}", __file__, "{port}", str(folder))


def behave(folder, **behaviour):
    """Say how the next server behaves."""
    (folder / "behaviour.json").write_text(json.dumps(behaviour))


def asked(folder):
    """Records in each request that was answered."""
    file = folder / "asked"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def await_file(file, seconds=60):
    """Wait until a file is there."""
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


def running(folder):
    """Processes of the server that still run, once they had the time to end."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    for _ in range(100):
        left = [pid for pid in pids if alive(pid)]
        if not left:
            return []
        time.sleep(0.05)
    return left


def alive(pid):
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z" if stat.parent.parent.exists() else True
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
