"""Which system checkpoints are of, flags that are another's, and a fourth system, which no driver knows."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from systems import registry
from tests import media

PREDICT = Path(__file__).parent / "toy_system" / "predict.py"
WINNERS = "final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36"
NTECHLABS = "efficientnet-b7_ns_aa-original-mstd0.5_re_100k_v4_cad79a"
MEDICS = "SRXT50_094_VM-0.2504.PTH"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos that grow brighter, and two checkpoints."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "videos").mkdir()
    for number, name in enumerate(("dark", "grey", "light")):
        frames = [frame // 4 + 60 * number for frame in media.noise_frames(32, 96, 64)]
        media.write_video(folder / "videos" / f"{name}.mp4", frames)
    (folder / "weights").mkdir()
    for name, threshold in (("low", 0.2), ("high", 0.6)):
        torch.save({"system": "toy", "threshold": threshold}, folder / "weights" / name)
    return folder


def command(folder, output, *more):
    flags = {"--test-dir": "videos", "--weights-dir": "weights"}
    places = [part for flag, name in flags.items() for part in (flag, str(folder / name))]
    return [str(PREDICT), *places, "--models", "low", "high", "--device", "cpu", "--output", str(output), *more]


def predict(folder, output, *more, launcher=()):
    launch = [sys.executable, *launcher, *command(folder, output, *more)]
    return subprocess.run(launch, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def predicted(folder):
    """Output, faces and report of an undisturbed run."""
    out = folder / "out"
    done = predict(folder, out / "s.csv", "--faces-csv", str(out / "f.csv"), "--report", str(out / "r.html"))
    assert done.returncode == 0, done.stderr
    return out


def read(path):
    return list(csv.DictReader(path.open()))


def test_a_fourth_system(predicted):
    rows, faces = read(predicted / "s.csv"), read(predicted / "f.csv")
    assert [row["filename"] for row in rows] == ["dark.mp4", "grey.mp4", "light.mp4"]
    assert sorted(rows, key=lambda row: float(row["label"])) == rows
    assert list(faces[0]) == ["video", "first", "last", "low", "high"]
    assert [(face["video"], face["first"], face["last"]) for face in faces[:3]] == [
        ("dark.mp4", "9", "11"),
        ("dark.mp4", "19", "21"),
        ("dark.mp4", "29", "31"),
    ]
    for row in rows:
        mine = [face for face in faces if face["video"] == row["filename"]]
        highest = [max(float(face[name]) for face in mine) for name in ("low", "high")]
        assert float(row["label"]) == pytest.approx(sum(highest) / 2)
    page = (predicted / "r.html").read_text()
    assert "light.mp4" in page and "highest" in page and "data:image/webp" in page


def test_two_processes_give_the_same(folder, predicted, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = predict(folder, tmp_path / "s.csv", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.csv").read_bytes() == (predicted / "s.csv").read_bytes()


def test_killed_and_started_again(folder, predicted, tmp_path):
    process = subprocess.Popen([sys.executable, *command(folder, tmp_path / "s.csv")], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not any(path.stat().st_size > 400 for path in tmp_path.glob("*.jsonl")) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert predict(folder, tmp_path / "s.csv").returncode == 0
    assert (tmp_path / "s.csv").read_bytes() == (predicted / "s.csv").read_bytes()


def test_options_are_settings(folder, predicted):
    """Other options: another journal, other faces; flags of other systems are refused."""
    done = predict(folder, predicted / "s5.csv", "--every", "5", "--faces-csv", str(predicted / "f5.csv"))
    assert done.returncode == 0 and len(read(predicted / "f5.csv")) > len(read(predicted / "f.csv"))
    done = predict(folder, predicted / "x.csv", "--spread-faces")
    assert done.returncode == 1
    assert done.stderr == "error: --spread-faces: is not for system toy, which takes --every\n"


def test_published_names_tell(tmp_path):
    assert registry.system_of(str(tmp_path), [WINNERS]) == "seferbekov"
    assert registry.system_of(str(tmp_path), [NTECHLABS]) == "ntechlab"
    assert registry.system_of(str(tmp_path), [MEDICS]) == "medics"
    with pytest.raises(InputError, match=r"--models: are of several systems \(final_111.*: seferbekov; SRXT50.*medics"):
        registry.system_of(str(tmp_path), [WINNERS, MEDICS])


def test_what_a_file_says(tmp_path, weights_dir):
    assert registry.system_of(str(weights_dir), ["first", "second"]) == "seferbekov"
    torch.save({"system": "ntechlab", "state_dict": {}}, tmp_path / "a")
    torch.save({"system": "other"}, tmp_path / "b")
    assert registry.system_of(str(tmp_path), ["a"]) == "ntechlab"
    with pytest.raises(InputError, match="b: system 'other' is unknown; known: seferbekov, ntechlab, medics"):
        registry.system_of(str(tmp_path), ["b"])


def test_a_published_folder_holds_its_file(tmp_path):
    assert registry.checkpoint_path(str(tmp_path), NTECHLABS) == str(tmp_path / NTECHLABS)
    (tmp_path / NTECHLABS).mkdir()
    expected = tmp_path / NTECHLABS / "snapshot_100000.fp16.pth"
    assert registry.checkpoint_path(str(tmp_path), NTECHLABS) == str(expected)
