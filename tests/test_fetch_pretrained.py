"""Pretrained weights that are there, and a download that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from systems.seferbekov import models
from training.tools import fetch_pretrained

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "training" / "tools" / "fetch_pretrained.py"
NAME = "tf_efficientnet_b0.ns_jft_in1k"


def make_cache(home):
    """A Hugging Face cache as a download of B0's weights leaves it."""
    repository = home / "hub" / f"models--timm--{NAME}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(timm.create_model(NAME).state_dict(), snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)


def run(tmp_path, *encoders):
    """As a user runs it, from anywhere and without a network."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, str(SCRIPT), *encoders]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)


def test_there_and_not_there(tmp_path):
    make_cache(tmp_path / "cache")
    finished = run(tmp_path, "tf_efficientnet_b2_ns", "tf_efficientnet_b0_ns")
    assert finished.returncode == 1 and finished.stdout == "tf_efficientnet_b0_ns: pretrained weights are there\n"
    assert finished.stderr.count("error: tf_efficientnet_b2.ns_jft_in1k: the pretrained weights could not be") == 1
    assert "Traceback" not in finished.stderr


def test_failed_downloads_are_named_in_a_line_each(monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr(models.timm, "create_model", refuse)
    assert fetch_pretrained.main(["tf_efficientnet_b7_ns", "tf_efficientnet_b5_ns"]) == 1
    printed = capsys.readouterr()
    first, second = printed.err.splitlines()
    assert printed.out == ""
    assert first.startswith("error: tf_efficientnet_b7.ns_jft_in1k: ") and "no route\\nto host" in first
    assert second.startswith("error: tf_efficientnet_b5.ns_jft_in1k: ") and "HF_HOME" in second


def test_usage(capsys):
    for words in ([], ["resnet50"]):
        with pytest.raises(SystemExit) as stopped:
            fetch_pretrained.main(words)
        assert stopped.value.code == 2
    assert "tf_efficientnet_b7_ns" in capsys.readouterr().err
