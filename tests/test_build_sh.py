"""build.sh with a docker that only notes what it was told."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "FTP_PROXY", "ftp_proxy")


def run(tmp_path, *words, path=None, **environment):
    """Returns the finished process and the words that docker was given."""
    docker, noted = tmp_path / "bin" / "docker", tmp_path / "noted"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > "{noted}"\n')
    docker.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if name not in PROXIES}
    environment = {**inherited, "PATH": path or f"{docker.parent}:{os.environ['PATH']}", **environment}
    finished = subprocess.run(
        ["/bin/bash", ROOT / "build.sh", *words], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    return finished, noted.read_text().split("\0")[:-1] if noted.exists() else None


def test_tag_network_and_further_flags(tmp_path):
    finished, words = run(tmp_path, "--build-arg", "TZ=Europe/Berlin")
    assert finished.returncode == 0, finished.stderr
    assert words[0] == "build" and words[words.index("-t") + 1] == "dfdc_selimsef" and "--network=host" in words
    assert words[words.index("-f") + 1] == str(ROOT / "Dockerfile")
    assert words[-3:] == ["--build-arg", "TZ=Europe/Berlin", str(ROOT)]
    assert words.count("--build-arg") == 1


def test_proxies_are_passed_on(tmp_path):
    _, words = run(tmp_path, HTTP_PROXY="http://user:secret@proxy:3128", no_proxy="localhost", https_proxy="")
    passed = [words[at + 1] for at, word in enumerate(words) if word == "--build-arg"]
    assert passed == ["HTTP_PROXY", "no_proxy"]  # by name: a list of processes shows no password


def test_without_docker(tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "dirname").symlink_to(shutil.which("dirname"))
    finished, words = run(tmp_path, path=str(tmp_path / "only"))
    assert finished.returncode == 1 and words is None
    assert finished.stderr.startswith("error: docker is not installed") and finished.stderr.count("\n") == 1
