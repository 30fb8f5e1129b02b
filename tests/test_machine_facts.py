"""What a score was computed with, as the libraries and git themselves tell it."""

import json
import re
import subprocess
from pathlib import Path

import av
import numpy
import pytest
import torch

from inference import machine_facts as facts_module
from inference.machine_facts import LIBRARIES, machine_facts, nvidia_driver, version_of
from runtime import processor as processor_module
from runtime import source_tree as source_module
from runtime.processor import Processor, processor
from runtime.source_tree import source_tree, sources_digest

ROOT = Path(__file__).resolve().parents[1]


def test_of_this_machine():
    facts = machine_facts(torch.device("cpu"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["libraries"]["numpy"] == numpy.__version__ and facts["libraries"]["av"] == av.__version__
    assert facts["ffmpeg"]["libavcodec"] == ".".join(map(str, av.library_versions["libavcodec"]))
    assert set(facts["mtcnn"]) == {"onet.pt", "pnet.pt", "rnet.pt"} and facts["gpu"] is None
    assert re.fullmatch("[0-9a-f]{64}", facts["project"]["sha256"])


def test_all_libraries_that_are_installed_are_told_of():
    files = (ROOT / "requirements.txt", ROOT / "requirements-export.txt")
    named = re.findall(r"^([\w.-]+)==", "".join(path.read_text() for path in files), re.M)
    assert sorted(named) == sorted(LIBRARIES)


def test_what_is_not_installed():
    assert version_of("no-such-library") is None


def test_a_driver(tmp_path, monkeypatch):
    path = tmp_path / "version"
    monkeypatch.setattr(facts_module, "_NVIDIA_DRIVER", path)
    assert nvidia_driver() is None
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1  Wed\nGCC version: 12\n")
    assert nvidia_driver() == "NVIDIA UNIX x86_64 Kernel Module  570.1  Wed"


def test_a_processor(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor_module, "_CPUINFO", path)
    assert processor().features == frozenset()
    path.write_text("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: B\n")
    assert processor() == Processor(model="A", features=frozenset({"fpu", "avx2"}))
    path.write_text("processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n")
    assert processor() == Processor(model="0xd0c", features=frozenset({"fp", "asimd"}))


# the project's version


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small project in git."""
    for folder in source_module._FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "predict_folder.py").write_text("a = 1\n")
    (tmp_path / "faces" / "b.py").write_text("b = 2\n")
    (tmp_path / "faces" / "notes.txt").write_text("not a source")
    monkeypatch.setattr(source_module, "ROOT", tmp_path)
    source_tree.cache_clear()
    yield tmp_path
    source_tree.cache_clear()


def git(tree, *args):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", tree, *who, *args], check=True, capture_output=True, text=True).stdout.strip()


def test_the_digest_of_the_sources(tree):
    """As sha256sum tells it."""
    sums = subprocess.run(["sha256sum", "faces/b.py", "predict_folder.py"], cwd=tree, capture_output=True, text=True)
    whole = subprocess.run(["sha256sum"], input=sums.stdout, capture_output=True, text=True).stdout.split()[0]
    assert sources_digest(tree) == whole
    (tree / "faces" / "notes.txt").write_text("still none")
    assert sources_digest(tree) == whole
    (tree / "faces" / "b.py").write_text("b = 3\n")
    assert sources_digest(tree) != whole


def test_without_git(tree, monkeypatch):
    assert source_tree() == {"commit": None, "changed": None, "sha256": sources_digest(tree)}
    git(tree, "init", "-q")
    source_tree.cache_clear()
    assert source_tree()["commit"] is None  # nothing is committed yet
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "a")
    monkeypatch.setattr(source_module.shutil, "which", lambda name: None)
    source_tree.cache_clear()
    assert source_tree()["commit"] is None


def test_the_commit_and_whether_the_tree_is_another(tree):
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "a")
    told = source_tree()
    assert (told["commit"], told["changed"]) == (git(tree, "rev-parse", "HEAD"), False)
    (tree / "faces" / "b.py").write_text("b = 3\n")
    source_tree.cache_clear()
    assert source_tree()["changed"] is True


def test_nothing_that_a_tree_brings_along_is_run(tree, tmp_path_factory):
    """Neither hooks nor a monitor of files, and nothing is written."""
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "a")
    canary = tmp_path_factory.mktemp("canary") / "ran"
    script = tree / ".git" / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout"):
        (tree / ".git" / "hooks").mkdir(exist_ok=True)
        (tree / ".git" / "hooks" / hook).symlink_to(script)
    git(tree, "config", "core.fsmonitor", str(script))
    (tree / "faces" / "b.py").write_text("b = 2\n")  # the index would be refreshed
    before = (tree / ".git" / "index").read_bytes()
    assert source_tree()["changed"] is False
    assert not canary.exists() and (tree / ".git" / "index").read_bytes() == before
