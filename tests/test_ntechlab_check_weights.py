"""Which files of weights are there and of use."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from systems.ntechlab import check_weights
from systems.ntechlab.checkpoints import PUBLISHED_FILE, PUBLISHED_NAMES, save_classifier
from systems.ntechlab.detector import DSFD_FILE
from systems.ntechlab.models import create_network
from tests import media, processes

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Small classifiers under their published names."""
    folder = tmp_path_factory.mktemp("weights")
    for role, name in PUBLISHED_NAMES.items():
        (folder / name).mkdir()
        save_classifier(
            folder / name / PUBLISHED_FILE, create_network(role, media.ENCODER), role=role, encoder=media.ENCODER
        )
    return folder


@pytest.fixture
def weights(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "weights"))


def test_all_classifiers(weights, capsys):
    """DSFD can be done without."""
    assert check_weights.main([str(weights)]) == 0
    out, err = capsys.readouterr()
    for role, name in PUBLISHED_NAMES.items():
        assert f"{weights / name / PUBLISHED_FILE}: {role}, " in out
    assert f"{weights / DSFD_FILE}: is missing; the link that it was published at is dead: bring the file, or do" in out
    assert err == ""


def test_what_is_missing_or_wrong(weights, capsys):
    large_crop, re, seq = (weights / name / PUBLISHED_FILE for name in PUBLISHED_NAMES.values())
    large_crop.unlink()
    shutil.copy(re, seq)  # a frame model
    torch.save({"fc.weight": torch.zeros(3)}, weights / DSFD_FILE)
    assert check_weights.main([str(weights)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{re}: re, ") and out.count("\n") == 1
    missing, wrong, detector = err.splitlines()
    assert missing == f"error: {large_crop}: is missing; the link that it was published at is dead: bring the file"
    assert wrong.startswith(f"error: {seq}: ") and "seq" in wrong
    assert detector.startswith(f"error: {weights / DSFD_FILE}: ") and "DSFD with a ResNet-152" in detector


def test_a_wrong_detector_alone(weights, capsys):
    (weights / DSFD_FILE).mkdir()
    assert check_weights.main([str(weights)]) == 1
    assert f"error: {weights / DSFD_FILE}: " in capsys.readouterr().err


def test_the_script_that_fetches_weights(tmp_path):
    """It looks into its own folder, and tells of a system that it does not know."""
    for name in ("env.sh", "download_weights.sh", "systems", "engines", "faces", "runtime"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "weights").mkdir()

    def run(system):
        environment = processes.script_environment(SYSTEM=system)
        return subprocess.run([tmp_path / "download_weights.sh"], capture_output=True, text=True, env=environment)

    finished = run("ntechlab")
    assert finished.returncode == 1 and finished.stderr.count("is missing; the link that it was published at") == 3
    finished = run("toy")
    assert finished.returncode == 1 and finished.stdout == ""
    assert finished.stderr.startswith("error: SYSTEM=toy: nothing is known to fetch for it; use ")
