"""run.sh with a docker that only notes what it was told."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKER = """#!/bin/sh
if [ "$1" = image ]; then
    [ -n "$DOCKER_SAYS" ] || exit 0
    echo "$DOCKER_SAYS" >&2
    exit 1
fi
printf "%s\\0" "$@" > "{noted}"
"""
NAMES = ("GPUS", "IMAGE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


class Place:
    """A checkout with nothing but the script in it, a data root, and a docker."""

    def __init__(self, folder):
        self.folder, self.checkout, self.noted = folder, folder / "check out", folder / "noted"
        for name in ("bin", "check out", "data"):
            (folder / name).mkdir()
        shutil.copy(ROOT / "run.sh", self.checkout)
        docker = folder / "bin" / "docker"
        docker.write_text(DOCKER.format(noted=self.noted))
        docker.chmod(0o755)

    def run(self, *words, stdin=subprocess.DEVNULL, path=None, **environment):
        """Returns the finished process and the words of "docker run", split at the image's name."""
        inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
        path = path or f"{self.folder / 'bin'}:{os.environ['PATH']}"
        finished = subprocess.run(
            ["/bin/bash", self.checkout / "run.sh", *map(str, words)],
            stdin=stdin,
            capture_output=stdin is subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env={**inherited, "PATH": path, **environment},
        )
        if not self.noted.exists():
            return finished, None, None
        noted = self.noted.read_text().split("\0")[:-1]
        at = noted.index(environment.get("IMAGE", "dfdc_selimsef"))
        return finished, noted[:at], noted[at + 1 :]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def after(words, flag):
    return [words[at + 1] for at, word in enumerate(words) if word == flag]


def test_mounts_user_and_command(place):
    finished, flags, command = place.run("data", "./train.sh", "/dataset", "4", "--opt-level", "O0 O1")
    assert finished.returncode == 0, finished.stderr
    assert flags[:2] == ["run", "--rm"] and "--ipc=host" in flags and after(flags, "--gpus") == ["all"]
    assert after(flags, "--mount") == [
        f'type=bind,target=/dataset,"source={place.folder}/data"',
        f'type=bind,target=/workspace,"source={place.checkout}"',
    ]
    assert after(flags, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert set(after(flags, "--group-add")) == {*map(str, os.getgroups()), str(os.getgid())}
    assert command == ["./train.sh", "/dataset", "4", "--opt-level", "O0 O1"]
    assert "--interactive" in flags and "--tty" not in flags and "--tmpfs" not in flags and "--env" not in flags


def test_without_gpu_behind_a_proxy_and_with_an_environment(place):
    (place.checkout / ".venv").mkdir()
    (place.folder / 'a "b", c:d').mkdir()
    finished, flags, command = place.run('a "b", c:d', GPUS="", IMAGE="other", https_proxy="http://proxy:3128")
    assert finished.returncode == 0 and "GPUs: none" in finished.stderr
    assert command == [] and "--gpus" not in flags
    assert after(flags, "--env") == ["https_proxy"] and after(flags, "--tmpfs") == ["/workspace/.venv"]
    assert after(flags, "--mount")[0] == f'type=bind,target=/dataset,"source={place.folder}/a ""b"", c:d"'


def test_at_a_terminal(place):
    ours, theirs = pty.openpty()
    try:
        command = ["/bin/bash", place.checkout / "run.sh", place.folder / "data"]
        environment = {**os.environ, "PATH": f"{place.folder / 'bin'}:{os.environ['PATH']}"}
        subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, check=True)
    finally:
        os.close(ours)
        os.close(theirs)
    words = place.noted.read_text().split("\0")
    assert "--interactive" in words and "--tty" in words


@pytest.mark.parametrize(
    "says, line",
    [
        ("Error: No such image: dfdc_selimsef", "error: there is no image dfdc_selimsef; ./build.sh builds it\n"),
        ("Cannot connect to the Docker daemon.", "error: docker: Cannot connect to the Docker daemon.\n"),
    ],
)
def test_docker_says_no(place, says, line):
    finished, flags, _ = place.run("data", DOCKER_SAYS=says)
    assert finished.returncode == 1 and flags is None and finished.stderr == line


def test_nothing_to_run_it_with(place):
    finished, flags, _ = place.run("none")
    assert finished.returncode == 1 and flags is None
    assert finished.stderr == "error: DATA_ROOT none: no such folder, or it can't be entered\n"
    (place.folder / "only").mkdir()
    (place.folder / "only" / "dirname").symlink_to(shutil.which("dirname"))
    finished, _, _ = place.run("data", path=str(place.folder / "only"))
    assert finished.returncode == 1 and finished.stderr.startswith("error: docker is not installed")


def test_usage(place):
    for words in ([], ["--help"], [""]):
        finished, flags, _ = place.run(*words)
        assert finished.returncode == 2 and flags is None and "DATA_ROOT [COMMAND [ARGUMENTS]]" in finished.stderr
