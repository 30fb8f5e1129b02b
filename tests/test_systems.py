"""Which system checkpoints are of, flags that are another's, and a fourth system, which no driver knows."""

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from runtime.errors import InputError
from systems import registry
from systems.checkpoints import read_checkpoint
from tests import media, processes
from tests.toy_system import network, task
from training.pipelines import train_classifier

PREDICT, TRAIN = (Path(__file__).parent / "toy_system" / name for name in ("predict.py", "train.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
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
        network.save(folder / "weights" / name, network.ToyNetwork(threshold))
    return folder


def command(folder, output, *more):
    flags = {"--test-dir": "videos", "--weights-dir": "weights"}
    places = [part for flag, name in flags.items() for part in (flag, str(folder / name))]
    return [str(PREDICT), *places, "--models", "low", "high", "--device", "cpu", "--output", str(output), *more]


def predict(folder, output, *more, python=(sys.executable,)):
    return processes.run([*python, *command(folder, output, *more)], capture_output=True, text=True, timeout=300)


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
    done = predict(folder, tmp_path / "s.csv", python=TORCHRUN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.csv").read_bytes() == (predicted / "s.csv").read_bytes()


@pytest.mark.slow
def test_killed_and_started_again(folder, predicted, tmp_path):
    process = processes.Popen([sys.executable, *command(folder, tmp_path / "s.csv")], stderr=processes.DEVNULL)
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
    torch.save({"system": ["medics"]}, tmp_path / "c")
    with pytest.raises(InputError, match=r"c: system \"\['medics'\]\" is unknown"):
        registry.system_of(str(tmp_path), ["c"])


def test_a_published_folder_holds_its_file(tmp_path):
    assert registry.checkpoint_path(str(tmp_path), NTECHLABS) == str(tmp_path / NTECHLABS)
    (tmp_path / NTECHLABS).mkdir()
    expected = tmp_path / NTECHLABS / "snapshot_100000.fp16.pth"
    assert registry.checkpoint_path(str(tmp_path), NTECHLABS) == str(expected)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two parts of reals and as many fakes, which are brighter: two of each to hold out, and four."""
    root = tmp_path_factory.mktemp("data")
    for part in range(2):
        folder = root / f"dfdc_train_part_{part}"
        folder.mkdir()
        metadata = {}
        for number in range(4 * (part + 1)):
            name, label = f"v{part}{number}.mp4", ("REAL", "FAKE")[number % 2]
            frames = [frame // 4 + 100 * (number % 2) for frame in media.noise_frames(16, 64, 48)]
            media.write_video(folder / name, frames)
            metadata[name] = {"label": label}
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return root


def training(videos, folder, *more):
    """The flags of a training that writes below `folder`."""
    optimizer = {"batch_size": 1, "type": "SGD", "momentum": 0.9, "learning_rate": 5.0}
    schedule = {"type": "one_cycle", "mode": "step", "epochs": 3}
    config = {"system": "toy", "batches_per_epoch": 4, "optimizer": {**optimizer, "schedule": schedule}}
    (folder / "config.json").write_text(json.dumps(config))
    places = {"config": folder / "config.json", "data-dir": videos, "output-dir": folder, "logdir": folder / "l"}
    flags = [word for name, path in places.items() for word in (f"--{name}", str(path))]
    return [*flags, "--device", "cpu", "--workers", "0", "--middle", "4", *more]


def train(monkeypatch, videos, folder, *more):
    monkeypatch.setitem(registry.SYSTEMS, "toy", "tests.toy_system")
    return train_classifier.main(training(videos, folder, *more))


def assert_same_training(first, second):
    names = {path.name for path in first.glob("classifier_toy_*")}
    assert names == {f"classifier_toy_{ending}" for ending in ("0", "1", "2", "last", "best_dice")}
    for name in names:
        ones, others = (read_checkpoint(folder / name)["state_dict"] for folder in (first, second))
        assert all(torch.equal(ones[key], others[key]) for key in ones), name
    assert (first / "predictions_toy.json").read_bytes() == (second / "predictions_toy.json").read_bytes()


def test_a_fourth_system_is_trained_and_goes_on_to_the_bit(monkeypatch, videos, tmp_path, capsys):
    """Stopped where the optimizer starts anew, at an epoch's end, and within the next one."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    assert train(monkeypatch, videos, whole) == 0
    assert "epoch 2\nfake_loss" in capsys.readouterr().out
    for _ in range(3):
        with monkeypatch.context() as patched:
            signal_in_first_step(patched)
            assert train(patched, videos, stopped, "--resume", "auto") == 128 + signal.SIGTERM
    assert train(monkeypatch, videos, stopped, "--resume", "auto") == 0
    printed = capsys.readouterr().out
    assert all(f"going on at epoch {where}\n" in printed for where in ("0, step 2", "1, step 0", "1, step 2"))
    assert_same_training(whole, stopped)
    assert registry.system_of(str(whole), ["classifier_toy_2"]) == "toy"


def test_two_processes_train_it_and_go_on_to_the_bit(monkeypatch, videos, tmp_path, capsys):
    """One of them is told to stop within the first epoch, then one is killed within the second."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()

    def launch(folder, *more, **environment):
        command = [*TORCHRUN, str(TRAIN), *training(videos, folder, *more)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return processes.run(command, capture_output=True, text=True, env=environment, timeout=300)

    done = launch(whole)
    assert done.returncode == 0 and done.stdout.count("epoch 2\nfake_loss") == 1, done.stderr
    done = launch(stopped, SIGNAL="1 0 SIGTERM")
    assert done.returncode == 1 and "--resume auto goes on" in done.stderr
    assert train(monkeypatch, videos, stopped, "--resume", "auto") == 1
    assert "it was made with world_size 2, this run has 1; use the same" in capsys.readouterr().err
    done = launch(stopped, "--resume", "auto", SIGNAL="0 4 SIGKILL")
    assert done.returncode == 1 and "going on at epoch 0, step 2\n" in done.stdout
    done = launch(stopped, "--resume", "auto")
    assert done.returncode == 0 and "going on at epoch 1, step 0\n" in done.stdout, done.stderr
    assert_same_training(whole, stopped)


def test_flags_of_another_system(monkeypatch, videos, tmp_path, capsys):
    assert train(monkeypatch, videos, tmp_path, "--fold", "1") == 1
    assert "--fold: is not for system toy, which takes --middle" in capsys.readouterr().err


def signal_in_first_step(monkeypatch):
    """SIGTERM comes while it is computed, and is seen after the next."""
    losses, seen = task.ToyTask.losses, []

    def signalled(self, *args):
        seen.append(1)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, *args)

    monkeypatch.setattr(task.ToyTask, "losses", signalled)
