"""The download script against a server on this machine that can resume."""

import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from systems.registry import published_files
from tests import processes

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="no curl")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`; notes where each transfer began."""

    files: dict  # name: bytes
    starts: list

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if name not in self.files:
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.starts.append((name, start))
        data = self.files[name]
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def place(tmp_path):
    """The script in a folder of its own, so that the repository's weights are left alone."""
    for name in ("env.sh", "download_weights.sh", "training", "systems", "engines", "faces", "runtime", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "weights").mkdir()
    return tmp_path


@pytest.fixture
def server():
    handler = type("Served", (Handler,), {"files": {}, "starts": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield handler
        listening.shutdown()


def names():
    return list(published_files("seferbekov"))


def run(place, url):
    environment = processes.script_environment(BASE_URL=url, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    return subprocess.run([place / "download_weights.sh"], capture_output=True, text=True, env=environment)


def test_fetches_resumes_verifies_and_says_what_is_missing(place, server, weights_dir):
    good = (weights_dir / "first").read_bytes()
    there, resumed, fresh, rubbish, *gone = names()
    assert len(gone) == 3
    (place / "weights" / there).write_bytes(b"kept as it is")
    (place / "weights" / f"{resumed}.part").write_bytes(good[:100000])
    server.files.update({there: good, resumed: good, fresh: good, rubbish: b"<html>"})
    first = run(place, server.url)
    assert first.returncode == 1 and "4 of 7 checkpoints are missing" in first.stderr
    assert f"{rubbish} (what came is no such checkpoint)" in first.stderr
    assert all(f"{name} (download failed, curl's code 22)" in first.stderr for name in gone)
    assert server.starts == [(resumed, 100000), (fresh, 0), (rubbish, 0)]
    assert (place / "weights" / resumed).read_bytes() == (place / "weights" / fresh).read_bytes() == good
    assert sorted(os.listdir(place / "weights")) == sorted([there, resumed, fresh])

    server.files.update(dict.fromkeys([rubbish, *gone], good))
    server.starts.clear()
    second = run(place, server.url)
    assert second.returncode == 0 and "all 7 checkpoints are in" in second.stdout
    assert [name for name, _ in server.starts] == [rubbish, *gone]


def test_without_internet(place):
    finished = run(place, "http://no-such-host.invalid")
    assert finished.returncode == 1
    assert "no internet here?" in finished.stderr and finished.stderr.count("http://no-such-host.invalid/final_") == 7
    assert os.listdir(place / "weights") == []


def test_a_part_that_is_complete(place, server, weights_dir):
    """The run was stopped before it could rename it: the server has nothing more to send (416)."""
    good = (weights_dir / "first").read_bytes()
    complete, other, *there = names()
    for name in there:
        (place / "weights" / name).write_bytes(b"kept as it is")
    (place / "weights" / f"{complete}.part").write_bytes(good)
    (place / "weights" / f"{other}.part").write_bytes(b"x" * len(good))
    server.files.update({complete: good, other: good})
    finished = run(place, server.url)
    assert finished.returncode == 1 and f"{other} (what came is no such checkpoint)" in finished.stderr
    assert (place / "weights" / complete).read_bytes() == good
    assert sorted(os.listdir(place / "weights")) == sorted([complete, *there])
    assert run(place, server.url).returncode == 0
