"""preprocess_data.sh as a user runs it, and every stage after SIGKILL."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import data, processes

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ("boxes", "crops", "landmarks", "diffs")


def outputs(root):
    return {name: data.files(root / name) for name in OUTPUTS}


def run(root, cwd, **environment):
    return processes.run_script("preprocess_data.sh", root, cwd=cwd, **environment)


def test_all_stages(made_root, processed_root, root, tmp_path):
    """From nothing to the same as the stages one by one; from any folder; then there is nothing left to do."""
    for name in (*OUTPUTS, ".preprocessing"):
        (root / name).rename(tmp_path / name)
    first = run(root, tmp_path)
    assert first.returncode == 0, first.stderr
    assert outputs(root) == outputs(processed_root)
    assert (tmp_path / "folds.csv").read_bytes() == (processed_root / "folds.csv").read_bytes()
    again = run(root, tmp_path)
    assert again.returncode == 0 and again.stdout.count("of them done before") == 4
    assert "Traceback" not in first.stderr + again.stderr


def test_a_signal_reaches_the_stage(made_root, tmp_path):
    new = shutil.copytree(made_root, tmp_path / "new")  # with work to do, so that the stage does not end meanwhile
    process = subprocess.Popen(
        [str(ROOT / "preprocess_data.sh"), str(new)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    process.stdout.readline()  # the title of the first stage, which is starting
    time.sleep(0.5)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and "(exit code 143). Mend" in printed


def test_stops_at_a_failure_or_goes_on(root, tmp_path):
    _, fake = data.pair(root)
    data.cut(fake.path)
    stopped = run(root, tmp_path, FRAME_STEP="10", WORKERS="1", DEVICE="cpu")
    assert stopped.returncode == 1 and not (tmp_path / "folds.csv").exists()
    assert (
        "boxes: 3 of 3 done" in stopped.stdout
        and '"frame_step": 10' in (root / ".preprocessing" / "boxes.summary.json").read_text()
    )
    assert f"failed: {fake.id}: {fake.path}: can't be read" in stopped.stdout and "landmarks:" not in stopped.stdout
    assert "error: stopped at extract_crops.py (exit code 1). Mend what it names and run this again" in stopped.stderr
    going = run(root, tmp_path, FRAME_STEP="10", KEEP_GOING="1")
    assert going.returncode == 1 and (tmp_path / "folds.csv").exists()
    assert going.stderr.endswith("error: done, but without what failed in extract_crops.py\n")


def test_usage(tmp_path):
    finished = subprocess.run([str(ROOT / "preprocess_data.sh")], capture_output=True, text=True)
    assert finished.returncode == 2 and "DATA_ROOT" in finished.stderr
    finished = run(tmp_path / "none", tmp_path)
    assert (
        finished.returncode == 1 and "can't be read (No such file or directory); name the data root" in finished.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, folder, kills",
    [
        ("detect_original_faces", "boxes", 1),
        ("extract_crops", "crops", 4),
        ("generate_landmarks", "landmarks", 1),
        ("generate_diffs", "diffs", 4),
    ],
)
def test_killed_at_random_and_started_again(processed_root, root, script, folder, kills):
    """What a stage has done is kept, what it was doing is done again: the same to the byte, and nothing besides."""
    draw = random.Random(script)
    command = [sys.executable, str(ROOT / "preprocessing" / f"{script}.py"), "--root-dir", str(root), "--workers", "2"]
    (root / folder).rename(root.parent / folder)
    started = time.time()
    assert processes.run(command, capture_output=True).returncode == 0
    whole = time.time() - started
    for _ in range(kills):
        (root / folder).rename(root.parent / str(draw.random()))
        process = processes.Popen(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL)
        time.sleep(whole * draw.uniform(0.3, 0.95))
        process.kill()
        process.wait()
        finished = processes.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert data.files(root / folder) == data.files(processed_root / folder)
        assert sorted(path.name for path in root.iterdir()) == sorted(path.name for path in processed_root.iterdir())


@pytest.mark.parametrize("script", ["detect_original_faces", "generate_folds", "compress_videos", "extract_images"])
def test_scripts_run_from_anywhere(tmp_path, script):
    """As files, without PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "preprocessing" / f"{script}.py"), "--root-dir", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert finished.returncode == 1
    why = "no folder in it has a metadata.json; preprocessing/make_metadata.py writes them"
    assert finished.stderr == f"error: --root-dir {tmp_path}: {why}\n"
    assert os.listdir(tmp_path) == []
