"""train.sh as a user runs it."""

import json
from pathlib import Path

import pytest

from tests import processes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {
    "encoder": "tf_efficientnet_b0_ns",
    "pretrained": False,
    "size": 32,
    "batches_per_epoch": 1,
    "optimizer": {
        "batch_size": 2,
        "type": "SGD",
        "learning_rate": 0.01,
        "schedule": {"type": "constant", "epochs": 1},
    },
}


def run(folder, *words, **environment):
    environment = {"CONFIG": str(folder / "tiny.json"), "SEEDS": "1 2", **environment}
    return processes.run_script("train.sh", *words, cwd=folder, **environment)


def test_seeds_one_after_another(processed_root, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    (tmp_path / "folds.csv").write_bytes((processed_root / "folds.csv").read_bytes())
    flags = ("--device", "cpu", "--workers", "0")
    first = run(tmp_path, processed_root, *flags)
    assert first.returncode == 0, first.stderr
    made = sorted(path.name for path in (tmp_path / "weights").iterdir() if path.name.endswith("_last"))
    assert made == [f"tiny_{seed}_DeepFakeClassifier_tf_efficientnet_b0_ns_0_last" for seed in (1, 2)]
    for seed in (1, 2):
        log = (tmp_path / "logs" / f"tiny_{seed}").read_text()
        assert "\nfake_loss " in log and "\nreal_loss " in log
    again = run(tmp_path, processed_root, "1", *flags)
    assert again.returncode == 0 and "all 1 epochs are done" in (tmp_path / "logs" / "tiny_2").read_text()


def test_stops_at_a_failure(processed_root, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps({**CONFIG, "size": 0}))
    finished = run(tmp_path, processed_root, "")  # an empty NUM_GPUS, as other scripts pass it
    assert finished.returncode == 1 and "tiny.json: size: 0 is not allowed" in finished.stderr
    assert finished.stderr.endswith(
        "error: stopped at tiny_1 (exit code 1); mend what it names and run this again: it goes on\n"
    )
    assert "training tiny_2" not in finished.stdout


@pytest.mark.parametrize(
    "system, first, message",
    [
        ("ntechlab", "large_crop", "track_pairs.txt: can't be read"),
        ("medics", "i3d", "has no clips in face_videos_by_part; run extract_face_clips.py"),
    ],
)
def test_other_systems(tmp_path, system, first, message):
    """Nothing is prepared there, so the first of its networks tells what to run."""
    finished = run(tmp_path, tmp_path, "1", "--device", "cpu", CONFIG="", SYSTEM=system)
    assert finished.returncode == 1 and f"training {first} in 1 process(es)" in finished.stdout
    assert message in finished.stderr and f"error: stopped at {first} (exit code 1)" in finished.stderr


def test_usage(tmp_path):
    unknown = run(tmp_path, tmp_path, SYSTEM="winner")
    assert unknown.returncode == 2 and "use seferbekov, ntechlab or medics" in unknown.stderr
    assert run(tmp_path).returncode == 2
    assert run(tmp_path, "root", "0").returncode == 2
