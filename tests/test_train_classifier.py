"""The trainer: one step against a plain one, resumed and shared runs against whole ones, bad input."""

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.files import temporary_name
from systems.checkpoints import read_checkpoint
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov import task
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.dataset import ClassifierDataset
from systems.seferbekov.folds import read_folds, training_rows
from systems.seferbekov.models import DeepFakeClassifier
from tests import processes
from training import loop, stopping
from training.pipelines import train_classifier
from training.run import Run
from training.run_lock import run_lock

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "training" / "pipelines" / "train_classifier.py"
ENCODER = "tf_efficientnet_b0_ns"
NAME = f"t_DeepFakeClassifier_{ENCODER}_0"


def write_config(folder, **changes):
    optimizer = {"batch_size": 2, "type": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    optimizer["learning_rate"] = changes.pop("learning_rate", 0.01)
    schedule = {"type": "poly", "mode": "step", "epochs": changes.pop("epochs", 2), "params": {"max_iter": 10}}
    optimizer |= {"batch_size": changes.pop("batch_size", 2), "schedule": schedule}
    config = {"encoder": ENCODER, "pretrained": False, "size": 64, "batches_per_epoch": 3, "optimizer": optimizer}
    path = folder / "config.json"
    path.write_text(json.dumps({**config, **changes}))
    return path


def flags(root, folder, *more):
    return [
        *("--config", str(folder / "config.json"), "--data-dir", str(root), "--folds-csv", str(root / "folds.csv")),
        *("--output-dir", str(folder / "out"), "--logdir", str(folder / "logs"), "--prefix", "t_", "--workers", "0"),
        *("--device", "cpu", *map(str, more)),
    ]


def run(root, folder, *more):
    return train_classifier.main(flags(root, folder, *more))


def weights(folder, ending="last"):
    return read_checkpoint(folder / "out" / f"{NAME}_{ending}")["state_dict"]


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def error_of(capsys, root, folder, *more):
    assert run(root, folder, *more) == 1
    printed = capsys.readouterr().err
    bars_and_error = printed.splitlines()
    assert bars_and_error[-1].startswith("error: ") and "Traceback" not in printed
    return bars_and_error[-1].removeprefix("error: ")


@pytest.fixture(scope="module")
def whole(processed_root, tmp_path_factory):
    """A run of two epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    write_config(folder)
    assert run(processed_root, folder) == 0
    return folder


def test_what_it_writes(whole, processed_root, tmp_path, capsys):
    names = {path.name for path in (whole / "out").iterdir()}
    endings = ("0", "1", "last", "best_dice")
    assert names == {"predictions_0.json", *(f"{NAME}_{ending}" for ending in endings)}
    last = read_checkpoint(whole / "out" / f"{NAME}_last")
    assert last["epoch"] == 2 and last["encoder"] == ENCODER and last["input_size"] == 64
    assert all(key.startswith("module.") for key in last["state_dict"])
    epoch = read_checkpoint(whole / "out" / f"{NAME}_1")
    assert "resume" not in epoch and epoch["epoch"] == 2
    assert_same_weights(epoch["state_dict"], last["state_dict"])
    assert load_model(whole / "out" / f"{NAME}_best_dice").input_size == 64  # as predict_folder.py does

    predictions = json.loads((whole / "out" / "predictions_0.json").read_text())
    held_out = {row.video: row.label for row in read_folds(processed_root / "folds.csv").itertuples() if row.fold == 0}
    assert predictions["targets"] == held_out and predictions["probs"].keys() == held_out.keys()
    (events,) = (whole / "logs" / NAME).iterdir()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(events))
    curves.Reload()
    assert {"val/bce", "train/loss", "group0/lr"} <= set(curves.Tags()["scalars"])
    assert [event.step for event in curves.Scalars("val/bce")] == [0, 1]
    rates = {event.step: event.value for event in curves.Scalars("group0/lr")}
    assert rates[1] == pytest.approx(0.01 * 0.9**0.9) and rates[5] == pytest.approx(0.01 * 0.5**0.9)
    assert curves.Tags()["images"]


def test_the_log_lines(processed_root, tmp_path, capsys):
    write_config(tmp_path)
    assert run(processed_root, tmp_path) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{NAME}: cpu, float32, 1 process(es)\n")
    pairs = re.findall(r"^epoch (\d)\nfake_loss (\S+)\nreal_loss (\S+)$", printed, re.MULTILINE)
    assert [epoch for epoch, _, _ in pairs] == ["0", "1"]
    predictions = json.loads((tmp_path / "out" / "predictions_0.json").read_text())
    fakes = [predictions["probs"][video] for video, label in predictions["targets"].items() if label]
    assert float(pairs[1][1]) == pytest.approx(-np.log(fakes).mean())


def test_the_same_seed_gives_the_same_weights_and_another_does_not(whole, processed_root, tmp_path):
    write_config(tmp_path)
    assert run(processed_root, tmp_path, "--workers", 2) == 0  # nor does it matter how many load
    assert_same_weights(weights(tmp_path), weights(whole))
    assert run(processed_root, tmp_path, "--seed", 778) == 0
    assert not torch.equal(weights(tmp_path)["module.fc.weight"], weights(whole)["module.fc.weight"])


def test_one_step_is_that_of_a_plain_implementation(processed_root, tmp_path, monkeypatch):
    """fp32, SGD with momentum, nesterov and weight decay, gradient norm 1; written out from the specification."""
    write_config(tmp_path, batches_per_epoch=1, epochs=1, batch_size=6)
    assert run(processed_root, tmp_path) == 0

    rows = training_rows(read_folds(processed_root / "folds.csv"), fold=0, epoch=0, seed=777)
    dataset = ClassifierDataset(rows, data_dir=processed_root, size=64, training=True, seed=777, epoch=0)
    samples = [dataset[index] for index in range(6)]
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = torch.stack([(sample["image"] / 255 - mean) / std for sample in samples])
    labels = torch.tensor([float(sample["label"]) for sample in samples])
    torch.manual_seed(777)
    model = DeepFakeClassifier(ENCODER, pretrained=False).train()
    torch.manual_seed(777 * 1_000_003 * 4099)
    logits = model(images)[:, 0]
    fakes = labels > 0.5
    assert fakes.any() and not fakes.all()
    losses = [F.binary_cross_entropy_with_logits(logits[where], labels[where]) for where in (fakes, ~fakes)]
    (sum(losses) / 2).backward()
    named = {name: p for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.sqrt(sum(p.grad.square().sum() for p in named.values()))
    after = weights(tmp_path)
    for name, parameter in named.items():
        gradient = parameter.grad * min(1.0, 1.0 / (norm.item() + 1e-6)) + 1e-4 * parameter
        expected = parameter - 0.01 * (gradient + 0.9 * gradient)  # nesterov: the momentum's buffer is the gradient
        assert torch.allclose(after[f"module.{name}"], expected, atol=1e-6), name


@pytest.mark.parametrize("step", [0, 1, 4])
def test_stopped_and_resumed_gives_the_same_weights(whole, processed_root, tmp_path, monkeypatch, capsys, step):
    write_config(tmp_path)
    add, steps = stopping.Monitor.add, iter(range(100))

    def add_and_stop(self, *args):
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        add(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(stopping.Monitor, "add", add_and_stop)
        assert run(processed_root, tmp_path) == 128 + signal.SIGTERM
    assert "--resume auto goes on" in capsys.readouterr().err
    assert run(processed_root, tmp_path, "--resume", "auto") == 0
    assert f"going on at epoch {(step + 2) // 3}, step " in capsys.readouterr().out
    assert_same_weights(weights(tmp_path), weights(whole))
    assert run(processed_root, tmp_path, "--resume", "auto") == 0
    assert "all 2 epochs are done" in capsys.readouterr().out


@pytest.fixture(scope="module")
def undisturbed(processed_root, tmp_path_factory):
    """A run of four epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_config(folder, epochs=4)
    assert run(processed_root, folder) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_a_random_moment_and_resumed(processed_root, undisturbed, tmp_path, how):
    """As a process; SIGKILL loses what was done since the last checkpoint, and the result is still the same."""
    write_config(tmp_path, epochs=4)
    command = [sys.executable, str(SCRIPT), *flags(processed_root, tmp_path, "--resume", "auto", "--workers", 1)]
    process = processes.Popen(command, stdout=processes.PIPE, stderr=processes.PIPE, text=True)
    last = tmp_path / "out" / f"{NAME}_last"
    while not last.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(random.uniform(0, 1))
    process.send_signal(how)
    _, errors = process.communicate()
    if process.returncode:  # else it was done before
        assert process.returncode == (-how if how == signal.SIGKILL else 128 + how), errors
        # killed, it can't stop its loading process, which may write a traceback when it finds nobody to answer
        assert how == signal.SIGKILL or "Traceback" not in errors
    finished = processes.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert_same_weights(weights(tmp_path), weights(undisturbed))


def test_two_processes_are_one_with_twice_the_batch(processed_root, tmp_path):
    """Batch norms over both batches, the classes counted over both, the gradients' mean: the same but for rounding.
    Without drop path, which each process draws for itself."""
    results = {}
    for world_size, batch_size in ((1, 2), (2, 1)):
        folder = tmp_path / str(world_size)
        folder.mkdir()
        write_config(folder, batch_size=batch_size, epochs=1, learning_rate=0.001)
        launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if world_size == 2 else []
        words = [item for module in [*launch[:1]] for item in ("-m", module)] + launch[1:]
        command = [sys.executable, *words, str(ROOT / "tests" / "train_without_drop_path.py")]
        command += flags(processed_root, folder)
        finished = processes.run(
            command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.count("fake_loss") == 1
        results[world_size] = weights(folder)
    for key, one in results[1].items():
        assert torch.allclose(one.float(), results[2][key].float(), rtol=1e-3, atol=2e-5), key


def test_a_published_checkpoint_can_be_gone_on_from(whole, processed_root, tmp_path, capsys):
    """One without this project's keys: weights, epoch and best score."""
    write_config(tmp_path)
    content = read_checkpoint(whole / "out" / f"{NAME}_0")
    torch.save({key: content[key] for key in ("state_dict", "epoch", "bce_best")}, tmp_path / "published")
    assert run(processed_root, tmp_path, "--resume", tmp_path / "published") == 0
    assert "going on at epoch 1, step 0" in capsys.readouterr().out


def test_from_zero_takes_the_weights_alone(whole, processed_root, tmp_path, capsys):
    write_config(tmp_path, epochs=1, learning_rate=1e-12)
    assert run(processed_root, tmp_path, "--resume", whole / "out" / f"{NAME}_last", "--from-zero", "--seed", 5) == 0
    assert "going on" not in capsys.readouterr().out
    assert torch.allclose(weights(tmp_path)["module.fc.weight"], weights(whole)["module.fc.weight"])


def test_a_frozen_encoder_stays_as_it_is(processed_root, tmp_path):
    write_config(tmp_path)
    assert run(processed_root, tmp_path, "--freeze-epochs", 1) == 0
    torch.manual_seed(777)
    start = DeepFakeClassifier(ENCODER, pretrained=False).state_dict()
    first, second = weights(tmp_path, 0), weights(tmp_path, 1)
    assert torch.equal(first["module.encoder.conv_stem.weight"], start["encoder.conv_stem.weight"])
    assert torch.equal(first["module.encoder.bn1.running_mean"], start["encoder.bn1.running_mean"])
    assert not torch.equal(first["module.fc.weight"], start["fc.weight"])
    assert not torch.equal(second["module.encoder.conv_stem.weight"], start["encoder.conv_stem.weight"])


def test_bf16_and_other_options(processed_root, tmp_path):
    write_config(tmp_path, bf16=True, epochs=1, ohem_samples=1)
    more = ("--only-changed-frames", "--no-oversample", "--no-hardcore", "--padding-part", 4, "--test_every", 2)
    assert run(processed_root, tmp_path, *more) == 0
    assert weights(tmp_path)["module.fc.weight"].dtype == torch.float32
    assert not (tmp_path / "out" / "predictions_0.json").exists()  # validation is at every second epoch


def test_a_loss_that_is_no_number(processed_root, tmp_path, capsys):
    write_config(tmp_path, learning_rate=1e30)
    error = error_of(capsys, processed_root, tmp_path, "--opt-level", "O0")
    assert re.match(r"epoch 0(, step \d)?: the (validation )?loss is (nan|inf)", error)
    assert not (tmp_path / "out" / f"{NAME}_best_dice").exists()


def rate_of_last_step(monkeypatch, rate):
    """The second epoch's last step of three is taken at another rate."""
    set_rates = loop.set_rates

    def set_others(run, optimizer, step, epoch):
        set_rates(run, optimizer, step, epoch)
        if step == 5:
            optimizer.param_groups[0]["lr"] = rate

    monkeypatch.setattr(loop, "set_rates", set_others)


@pytest.mark.parametrize("rate, message", [(1e30, "the validation loss is nan"), (math.inf, "is not finite")])
def test_a_last_step_that_goes_wrong_replaces_nothing(
    whole, processed_root, tmp_path, monkeypatch, capsys, rate, message
):
    write_config(tmp_path)
    last = tmp_path / "out" / f"{NAME}_last"
    with monkeypatch.context() as patched:
        rate_of_last_step(patched, rate)
        error = error_of(capsys, processed_root, tmp_path)
    assert error.startswith("epoch 1: ") and message in error and f"go on from {last} by" in error
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"predictions_0.json", *(f"{NAME}_{ending}" for ending in ("0", "last", "best_dice"))}
    assert_same_weights(weights(tmp_path), weights(tmp_path, "0"))
    assert run(processed_root, tmp_path, "--resume", "auto") == 0
    assert "going on at epoch 1, step 0" in capsys.readouterr().out
    assert_same_weights(weights(tmp_path), weights(whole))


def test_a_first_epoch_that_goes_wrong_leaves_nothing_to_go_on_from(processed_root, tmp_path, capsys):
    """Its weights are finite, and of no use; with an epoch that is not validated, a batch tells."""
    write_config(tmp_path, learning_rate=1e30, batches_per_epoch=1)
    error = error_of(capsys, processed_root, tmp_path, "--test_every", 2)
    assert error.startswith("epoch 0: the validation loss is nan") and "there is no checkpoint yet" in error
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("module, name", [(task, "split_loss"), (loop, "score_videos")])
def test_out_of_memory(processed_root, tmp_path, monkeypatch, capsys, module, name):
    write_config(tmp_path)

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(module, name, fail)
    error = error_of(capsys, processed_root, tmp_path)
    assert "out of memory" in error and f"optimizer.batch_size in {tmp_path / 'config.json'}" in error


def test_a_process_without_memory_ends_the_other(processed_root, tmp_path):
    write_config(tmp_path)
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script += [str(ROOT / "tests" / "train_out_of_memory.py"), *flags(processed_root, tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = processes.run(script, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert finished.returncode == 1
    assert "error: out of memory" in finished.stderr


def test_a_second_training_of_the_name(processed_root, tmp_path, capsys):
    write_config(tmp_path)
    (tmp_path / "out").mkdir()
    with run_lock(tmp_path / "out" / f"{NAME}_lock"):
        assert "another training writes the checkpoints of this name" in error_of(capsys, processed_root, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_in_two_folds(root, tmp_path, capsys):
    write_config(tmp_path)
    lines = (root / "folds.csv").read_text().splitlines()
    column = lines[0].split(",").index("fold")
    held_out = next(line.split(",") for line in lines[1:] if line.split(",")[column] == "0")
    moved = [*held_out[:column], "1", *held_out[column + 1 :]]
    (root / "folds.csv").write_text("\n".join([*lines, ",".join(moved)]) + "\n")
    error = error_of(capsys, root, tmp_path)
    assert f"folds.csv: video {held_out[0]} is in several folds; write it again" in error


@pytest.mark.parametrize("changes", [{"size": 32, "batch_size": 1}, {"size": 32, "batch_size": "all but one"}])
def test_batches_that_are_too_small_for_batch_norms(processed_root, tmp_path, capsys, changes):
    rows = len(training_rows(read_folds(processed_root / "folds.csv"), fold=0, epoch=0, seed=777))
    batch_size = rows - 1 if changes["batch_size"] != 1 else 1
    write_config(tmp_path, **{**changes, "batch_size": batch_size})
    error = error_of(capsys, processed_root, tmp_path)
    assert f"optimizer.batch_size {batch_size}, size 32: of the {rows} rows" in error


@pytest.mark.parametrize("arguments", [("--prefix", "x" * 250), ("--prefix", "x" * 200), ("--output-dir", "y/" * 2500)])
def test_names_that_are_too_long(processed_root, tmp_path, capsys, arguments):
    write_config(tmp_path)
    if arguments[0] == "--output-dir":
        arguments = arguments[0], f"{tmp_path}/{arguments[1]}"
    error = error_of(capsys, processed_root, tmp_path, *arguments)
    assert arguments[0] in error and "File name too long" in error


def test_leftovers_are_looked_for_once(tmp_path, monkeypatch):
    """A scan for each of very many epochs would take hours."""
    scans = []
    listdir = os.listdir
    monkeypatch.setattr(loop.os, "listdir", lambda path: scans.append(path) or listdir(path))
    fake = SimpleNamespace(
        processes=SimpleNamespace(rank=0),
        args=SimpleNamespace(output_dir=tmp_path),
        epochs=1000,
        path=lambda ending: tmp_path / f"name_{ending}",
    )
    mine, other = temporary_name(tmp_path / "name_999"), temporary_name(tmp_path / "other")
    for path in (mine, other, tmp_path / ".hidden"):
        path.touch()
    loop.remove_leftovers_of(fake)
    assert len(scans) == 1 and set(listdir(tmp_path)) == {other.name, ".hidden"}


def test_damaged_training_state(whole, processed_root, tmp_path, capsys):
    write_config(tmp_path)
    content = read_checkpoint(whole / "out" / f"{NAME}_last")
    content["resume"]["position"]["best"] = math.nan
    torch.save(content, tmp_path / "damaged")
    error = error_of(capsys, processed_root, tmp_path, "--resume", tmp_path / "damaged")
    assert error == f"{tmp_path / 'damaged'}: its training state is damaged; --from-zero takes its weights alone"


@pytest.mark.parametrize("level", ["O0", "O1"])
def test_a_gpu_is_set_up(monkeypatch, level):
    """Without a search for the fastest convolutions, which took a minute and won nothing."""
    calls = []
    monkeypatch.setattr(loop, "resolve_device", lambda *args: torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")
    monkeypatch.setattr(loop, "forbid_tf32", lambda: calls.append("no TF32"))
    args = train_classifier.parse_args(["--config", "c", "--data-dir", "d", "--opt-level", level])
    device = loop.choose_device(args, SimpleNamespace(world_size=1, local_rank=0))
    assert calls == [device, "no TF32"][: 2 if level == "O0" else 1]
    assert not torch.backends.cudnn.benchmark
    assert Run.described_device.fget(SimpleNamespace(device=device)) == "cuda:1 (NVIDIA cuda:1)"


def test_missing_crops_are_counted_up_to_a_bound(processed_root, root, tmp_path, capsys):
    write_config(tmp_path, epochs=1)
    rows = training_rows(read_folds(root / "folds.csv"), fold=0, epoch=0, seed=777)
    crop = root / "crops" / rows[0].video / rows[0].file
    crop.unlink()
    assert run(root, tmp_path) == 0
    assert f"epoch 0: 1 samples could not be read, the first: {crop}: can't be opened" in capsys.readouterr().err
    shutil.rmtree(root / "crops")
    error = error_of(capsys, root, tmp_path)
    assert str(root / "crops") in error and "run preprocess_data.sh" in error


def test_held_out_crops_that_can_not_be_read_are_left_out(processed_root, root, tmp_path, capsys):
    write_config(tmp_path, epochs=1, learning_rate=1e-12)
    assert run(root, tmp_path) == 0
    whole = json.loads((tmp_path / "out" / "predictions_0.json").read_text())["probs"]
    table = read_folds(root / "folds.csv")
    first = next(row for row in table.itertuples() if row.fold == 0 and row.frame == 0)
    (root / "crops" / first.video / first.file).write_bytes(b"junk")
    capsys.readouterr()
    assert run(root, tmp_path, "--output-dir", tmp_path / "out") == 0
    assert "validation: 1 samples could not be read, the first: " in capsys.readouterr().err
    damaged = json.loads((tmp_path / "out" / "predictions_0.json").read_text())["probs"]
    assert {video for video in whole if damaged.get(video) != whole[video]} == {first.video}


@pytest.mark.slow
def test_a_loading_process_that_is_killed_ends_the_run(processed_root, tmp_path):
    write_config(tmp_path, epochs=200)
    command = [sys.executable, str(SCRIPT), *flags(processed_root, tmp_path, "--workers", 2)]
    with open(tmp_path / "errors", "wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    while not (tmp_path / "out" / f"{NAME}_last").exists():
        assert process.poll() is None, (tmp_path / "errors").read_text()
        time.sleep(0.05)
    killed = set()
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:  # at the end of an epoch none is needed any more
        workers = {grandchild for child in children(process.pid) for grandchild in children(child)}
        if workers and not workers & killed:
            killed.add(min(workers))
            os.kill(min(workers), signal.SIGKILL)
        time.sleep(0.05)
    process.kill()
    process.wait()
    errors = (tmp_path / "errors").read_text()
    assert process.returncode == 1, errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: a process that loads samples was killed"), errors
    assert "Traceback" not in errors


def children(pid):
    """Processes that a process has started, from Linux's /proc."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_bad_input(whole, processed_root, root, tmp_path, capsys):
    config = write_config(tmp_path)
    last = whole / "out" / f"{NAME}_last"

    def error(*more):
        return error_of(capsys, root, tmp_path, *more)

    assert "no such checkpoint" in error("--resume", tmp_path / "none")
    assert error("--resume", config).startswith(f"{config}: refused") or "is not a PyTorch checkpoint" in error(
        "--resume", config
    )
    assert "it was made with seed 777, this run has 5; use the same, or" in error("--resume", last, "--seed", 5)
    assert "--device cuda: no CUDA GPU is visible" in error("--device", "cuda") or torch.cuda.is_available()
    assert "this is no torchrun launch" in error("--distributed")
    assert "name it with --resume" in error("--from-zero")
    assert "fold 9" in error("--fold", 9)
    write_config(tmp_path, network="DeepFakeClassifierGWAP")
    assert "its network is DeepFakeClassifier, not DeepFakeClassifierGWAP" in error("--resume", last)
    write_config(tmp_path, colour="red")
    assert f"{config}: colour: unknown key; allowed: network, encoder" in error()
    config.unlink()
    assert f"{config}: can't be read (No such file or directory)" in error()
    write_config(tmp_path)
    (root / "folds.csv").unlink()
    assert "folds.csv" in error() and "generate_folds.py" in error()


def test_a_gpu_that_is_not_there(processed_root, tmp_path, capsys):
    write_config(tmp_path)
    arguments = [word for word in flags(processed_root, tmp_path, "--gpu", 63) if word not in ("--device", "cpu")]
    assert train_classifier.main(arguments) == 1
    assert "--device cuda:63: " in capsys.readouterr().err


def test_output_can_not_be_written(processed_root, tmp_path, capsys):
    write_config(tmp_path)
    (tmp_path / "out").touch()
    assert f"--output-dir {tmp_path / 'out'}: can't be written" in error_of(capsys, processed_root, tmp_path)


@pytest.mark.parametrize(
    "arguments", [["--seed", "0"], ["--label-smoothing", "0.7"], ["--opt-level", "O3"], ["--prefix", "a/b"]]
)
def test_flags_that_make_no_sense(processed_root, tmp_path, arguments):
    with pytest.raises(SystemExit):
        run(processed_root, tmp_path, *arguments)
