"""The Medics' networks trained by the one trainer on small clips: losses by hand, rows, stopped and gone on with."""

import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from runtime.errors import InputError
from systems import registry
from systems.checkpoints import read_checkpoint
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.medics import dataset, task
from systems.medics.clip_files import read_clip, write_clips
from systems.medics.clip_lists import BY_LABEL, BY_PART, MINI_VIDEOS, TABLE, read_clips
from systems.medics.models import MODELS, load_model, save_checkpoint
from systems.medics.starting_weights import starting_model
from systems.medics.system import model_of
from systems.medics.task import MedicsTask
from systems.task import Asked, Step
from tests import data, medics, processes
from tests.trainer import (
    SCRIPT,
    assert_same_weights,
    error_of,
    flags,
    killed_and_gone_on_with,
    stop_after_two_steps,
    train,
    weights,
)
from training.config import parse_config

NAME, NAME_2D = "classifier_medics_res10", "classifier_medics_seresnext50"
PREDICTIONS = "predictions_medics_res10.json"
ENDINGS = ("0", "1", "last", "best_dice")
# reals and fakes by part; those of part 0 are held out
PARTS = {0: (["r0"], ["f0", "g0", "h0"]), 1: (["r1", "r2", "r3"], ["f1", "g1", "f2", "g2", "f3", "g3", "h3"])}
LENGTH, SHORT = 18, 10  # frames of clips; those of r3 are fewer than the 16 that res10 takes


def write_root(root: Path, parts: dict, lengths: dict) -> Path:
    """Clips and mini videos of small data, as the stages leave them; fakes are darker."""
    rows = ["vidfile,filename,part,label"]
    for part, by_label in parts.items():
        for label, videos in enumerate(by_label):
            for video in videos:
                clip = root / BY_PART / str(part) / f"{video}.mp4_0_0.mp4"
                second = root / BY_LABEL / ("REAL", "FAKE")[label] / f"{part}_{clip.name}"
                mini = root / MINI_VIDEOS / f"{part:02}_{video}_0.mp4"
                for path in (clip, second, mini):
                    path.parent.mkdir(parents=True, exist_ok=True)
                count = lengths.get(video, LENGTH)
                frames = [frame // (1 + label) for frame in medics.frames(count, sum(video.encode()), 256, 256)]
                plans = [SimpleNamespace(video_frames=range(count)), SimpleNamespace(video_frames=range(4))]
                passing = [(plans[0], frame) for frame in frames] + [
                    (plans[1], frame[:90, :90]) for frame in frames[:4]
                ]
                write_clips([(clip, plans[0]), (mini, plans[1])], passing)
                os.link(clip, second)
                rows.append(f"{MINI_VIDEOS}/{mini.name},{video}.mp4,{part:02},{label}")
    (root / BY_PART / "1" / "r1.json").write_text("{}")  # what the stage knows of a video
    (root / BY_PART / "1" / "r1.mp4_1_0.mp4.short").touch()
    (root / TABLE).write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("clips"), PARTS, {"r3": SHORT})


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(made, tmp_path / "root")


def content(**changes):
    optimizer = {"batch_size": changes.pop("batch_size", 2), "type": changes.pop("type", "AdamW")}
    optimizer |= {"weight_decay": 0.01, "learning_rate": changes.pop("learning_rate", 0.001)}
    schedule = {"type": "one_cycle", "mode": "step", "epochs": changes.pop("epochs", 2)}
    schedule["params"] = {"betas": [0.95, 0.85]} if optimizer["type"] == "AdamW" else {}
    config = {"system": "medics", "model": "res10", "pretrained": False, "seed": 1, "held_out_parts": [0]}
    return {**config, "optimizer": {**optimizer, "schedule": schedule}, **changes}


def write_config(folder, **changes):
    (folder / "config.json").write_text(json.dumps(content(**changes)))


def make_task(root, world_size=1, seed=None, **changes):
    asked = Asked(config_file="c.json", data_dir=str(root), seed=seed, world_size=world_size)
    return MedicsTask(parse_config(content(**changes), "c.json"), asked)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A training of two epochs of three steps, with CutMix, that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    write_config(folder, cutmix=True)
    assert train(made, folder) == 0
    return folder / "out"


def test_what_it_writes(whole):
    assert {path.name for path in whole.iterdir()} == {PREDICTIONS, *(f"{NAME}_{ending}" for ending in ENDINGS)}
    last, epoch = read_checkpoint(whole / f"{NAME}_last"), read_checkpoint(whole / f"{NAME}_1")
    assert_same_weights(last["state_dict"], epoch["state_dict"])
    assert last["epoch"] == epoch["epoch"] == 2 and "resume" in last and "resume" not in epoch
    described = {"system": "medics", "model": "res10", "network": "ResNet10", "input": [16, 112, 112]}
    assert described.items() <= epoch.items() and epoch["normalize"]["mean"] == list(IMAGENET_MEAN)


def test_predictions_load_it(whole):
    names = [f"{NAME}_{ending}" for ending in ENDINGS]
    assert registry.system_of(str(whole), names) == "medics"
    for name in names:
        assert model_of(name, whole / name) == "res10"
        assert_same_weights(load_model("res10", whole / name).network.state_dict(), weights(whole / name))


def test_parts_that_are_held_out_are_validated(whole, made):
    """The real one and one of the fakes, the same each time; the first frames, halved, without their edges."""
    predictions = json.loads((whole / PREDICTIONS).read_text())
    (fake,) = set(predictions["targets"]) - {"r0"}
    assert predictions["targets"] == {fake: 1, "r0": 0} and fake in PARTS[0][1]
    assert predictions["probs"].keys() == predictions["targets"].keys()
    model = load_model("res10", whole / f"{NAME}_1")
    for video, probability in predictions["probs"].items():
        clip = read_clip(made / BY_PART / "0" / f"{video}.mp4_0_0.mp4", 0, 16)
        halved = clip.reshape(16, 128, 2, 128, 2, 3).mean((2, 4))[:, 8:120, 8:120]
        x = (torch.from_numpy(halved).float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        with torch.no_grad():
            expected = model.network(x.permute(3, 0, 1, 2)[None]).softmax(1)[0, 0]
        assert probability == pytest.approx(expected.item(), abs=2e-3)  # pixels are rounded


def test_a_process_that_loads_changes_nothing(whole, made, tmp_path):
    write_config(tmp_path, cutmix=True)
    assert train(made, tmp_path, "--workers", 1) == 0
    assert_same_weights(weights(tmp_path / "out" / f"{NAME}_last"), weights(whole / f"{NAME}_last"))


def test_stopped_and_gone_on_with_gives_the_same_weights(whole, made, tmp_path, capsys):
    """Within an epoch, at its end, and within the next one."""
    write_config(tmp_path, cutmix=True)
    for _ in range(3):
        with pytest.MonkeyPatch.context() as patched:
            stop_after_two_steps(patched, MedicsTask)
            assert train(made, tmp_path, "--resume", "auto") == 128 + signal.SIGTERM
    assert train(made, tmp_path, "--resume", "auto") == 0
    printed = capsys.readouterr().out
    assert all(f"going on at epoch {where}\n" in printed for where in ("0, step 2", "1, step 0", "1, step 2"))
    for ending in ENDINGS:
        name = f"{NAME}_{ending}"
        assert_same_weights(weights(tmp_path / "out" / name), weights(whole / name))
    assert (tmp_path / "out" / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()


def test_cutmix_makes_other_weights(whole, made, tmp_path):
    write_config(tmp_path)
    assert train(made, tmp_path) == 0
    mine, theirs = (weights(folder / f"{NAME}_0") for folder in (tmp_path / "out", whole))
    assert not torch.equal(mine["fc.weight"], theirs["fc.weight"])


def videos_of(rows):
    return [row.video for row in rows]


def test_an_epoch_has_as_many_fakes_as_reals(made):
    """Each real one once, and a fake of each third of the fakes; drawn anew from seed and epoch, in a new order."""
    training = make_task(made)
    epochs = [training.rows(epoch) for epoch in range(6)]
    fakes = sorted(PARTS[1][1])  # as the clips are listed
    thirds = [set(fakes[0:3]), set(fakes[3:5]), set(fakes[5:7])]
    for rows in epochs:
        assert Counter(row.label for row in rows) == {0: 3, 1: 3}
        assert {row.video for row in rows if not row.label} == set(PARTS[1][0])
        assert all(len(third.intersection(videos_of(rows))) == 1 for third in thirds)
    assert len({tuple(videos_of(rows)) for rows in epochs}) == 6
    assert make_task(made).rows(3) == epochs[3] and make_task(made, world_size=2).rows(3) == epochs[3]
    assert make_task(made, seed=2).rows(3) != epochs[3] and make_task(made, seed=2).seed == 2
    assert [make_task(made, batch_size=size).batches_per_epoch for size in (1, 2, 4, 6, 7)] == [6, 3, 2, 1, 1]


def test_held_out_fakes_are_the_same_whatever_the_seed(made):
    held_out = make_task(made).held_out
    assert [row.label for row in held_out] == [1, 0] and {row.part for row in held_out} == {"0"}
    assert make_task(made, seed=7).held_out == held_out
    assert not make_task(made, held_out_parts=[]).held_out


def test_epochs_of_the_2d_model(made):
    """Passes of all reals and half as many fakes, whose last batch is dropped; five times the reals for an epoch."""
    training = make_task(made, model="seresnext50", batch_size=3)
    assert training.batches_per_epoch == 5
    rows = [row for epoch in range(2) for row in training.rows(epoch)]
    assert len(rows) == 30 and {row.part for row in rows} == {"01"}
    for start in range(0, 30, 3):
        one_pass = rows[start : start + 3]  # of four
        assert sum(row.label for row in one_pass) <= 1 and len(set(one_pass)) == 3
    assert len({tuple(rows[start : start + 3]) for start in range(0, 30, 3)}) > 1
    assert make_task(made, model="seresnext50", batch_size=3).rows(1) == rows[15:]
    with pytest.raises(
        InputError, match=r"3 real mini videos to train on are fewer than a batch of 4; lower optimizer"
    ):
        make_task(made, model="seresnext50", batch_size=2, world_size=2)


def test_short_clips_are_looped(made):
    """Of 10 frames 16 are made: the first six come again."""
    training = make_task(made)
    row = next(row for row in read_clips(made) if row.video == "r3")
    clip = training.validation_data([row])[0]["clip"]
    assert clip.shape == (16, 112, 112, 3) and clip.dtype == torch.uint8
    assert torch.equal(clip[10:], clip[:6]) and not torch.equal(clip[1:10], clip[:9])
    clip = training.training_data([row], 0)[0]["clip"]
    assert torch.equal(clip[10:], clip[:6])


def test_samples_are_drawn_from_seed_epoch_and_number(made):
    training = make_task(made)
    rows = [training.rows(0)[0]] * 2
    first = training.training_data(rows, 0)[0]["clip"]
    assert torch.equal(training.training_data(rows, 0)[0]["clip"], first)
    others = (training.training_data(rows, 1)[0], training.training_data(rows, 0)[1])
    others = (*others, make_task(made, seed=2).training_data(rows, 0)[0])
    assert not any(torch.equal(other["clip"], first) for other in others)


def step_of(training, number=7):
    return Step(number=number, seed=training.seed, rank=0, world_size=1, sum_over_ranks=lambda tensor: tensor)


def normalised(pictures):
    """uint8 (..., 3) to float64, in the same order of channels."""
    return (pictures / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)


def test_the_loss_of_a_batch_of_clips(made):
    """-log of the softmax at 0 for a fake and at 1 for a real one."""
    training = make_task(made)
    training.create_network()
    clips = np.random.default_rng(0).integers(0, 256, (3, 16, 112, 112, 3), dtype=np.uint8)
    batch = {"clip": torch.from_numpy(clips), "is_fake": torch.tensor([True, False, True])}
    means = normalised(clips).mean((1, 2, 3))[:, :2] * 100  # the network's two numbers
    loss = training.losses(lambda x: x.mean((2, 3, 4))[:, :2] * 100, batch, step_of(training)).total
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(means, (0, 1, 0), strict=True)])
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_a_batch_with_cutmix(made):
    """Boxes of the other clips are pasted in, and the labels' losses are weighted by what is left."""
    training = make_task(made, cutmix=True)
    training.create_network()
    clips = np.random.default_rng(0).integers(0, 256, (4, 16, 112, 112, 3), dtype=np.uint8)
    labels = np.array([0, 1, 1, 0])  # FAKE is 0
    seen = []

    def network(x):
        seen.append(x)
        return x.mean((2, 3, 4))[:, :2] * 100

    batch = {"clip": torch.from_numpy(clips), "is_fake": torch.from_numpy(labels == 0)}
    loss = training.losses(network, batch, step_of(training)).total

    draw = np.random.default_rng((1, 7, 0))
    share = draw.beta(1, 1, 4)
    share, others = np.maximum(share, 1 - share), draw.permutation(4)
    sizes = np.array([16, 112, 112])
    centres = np.stack([draw.integers(size, size=4) for size in sizes], axis=1)
    x, losses = normalised(clips), []
    expected = x.copy()
    for number, other in enumerate(others):
        halves = np.floor(sizes * np.cbrt(1 - share[number])).astype(int) // 2
        start, end = np.clip(centres[number] - halves, 0, sizes), np.clip(centres[number] + halves, 0, sizes)
        inside = tuple(slice(*ends) for ends in zip(start, end, strict=True))
        expected[(number, *inside)] = x[(other, *inside)]
        left = 1 - np.prod(end - start) / np.prod(sizes)
        logits = expected[number].mean((0, 1, 2))[:2] * 100
        own, theirs = (np.log(np.exp(logits).sum()) - logits[labels[each]] for each in (number, other))
        losses.append(left * own + (1 - left) * theirs)
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 4, 1).numpy(), expected, atol=1e-5)
    assert not np.array_equal(expected, x)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_loss_of_a_batch_of_frames_with_mixup(made):
    """BGR, the channels in a drawn order; pictures and losses are blended by the same shares."""
    training = make_task(made, model="seresnext50", mixup=True, batch_size=3)
    training.create_network()
    frames = np.random.default_rng(0).integers(0, 256, (3, 1, 256, 256, 3), dtype=np.uint8)
    labels = np.array([1.0, 0.0, 0.0])
    seen = []

    def network(x):
        seen.append(x)
        return x.mean((1, 2, 3)) * 10

    batch = {"clip": torch.from_numpy(frames), "is_fake": torch.from_numpy(labels > 0)}
    loss = training.losses(network, batch, step_of(training)).total

    draw = np.random.default_rng((1, 7, 0))
    orders = [draw.permutation(3) for _ in range(3)]
    share = draw.beta(0.4, 0.4, 3)
    share, others = np.maximum(share, 1 - share), draw.permutation(3)
    assert others.tolist() != [0, 1, 2] and share.min() < 0.99  # it does change something
    x = normalised(frames[:, 0, :, :, ::-1])  # RGB's statistics on BGR, as published
    x = np.stack([each[:, :, order] for each, order in zip(x, orders, strict=True)])
    shares = share[:, None, None, None]
    mixed = shares * x + (1 - shares) * x[others]
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1).numpy(), mixed, atol=1e-5)
    logits = mixed.mean((1, 2, 3)) * 10
    own, theirs = (np.log1p(np.exp(logits)) - target * logits for target in (labels, labels[others]))
    assert loss.item() == pytest.approx((share * own + (1 - share) * theirs).mean(), rel=1e-4)


def test_batches_of_frames_go_through_one_of_the_two_mixes(made):
    training = make_task(made, model="seresnext50", cutmix=True, mixup=True)
    x = torch.zeros(2, 3, 256, 256)
    mixes = [training._draw_mix(x, step_of(training, number).generator()) for number in range(200)]
    assert 70 < sum(mix.boxes is None for mix in mixes) < 130
    assert make_task(made, model="seresnext50")._draw_mix(x, step_of(training).generator()) is None


@pytest.mark.slow
def test_the_2d_model_is_trained_and_goes_on_to_the_bit(tmp_path, monkeypatch):
    """Three batches of two, and three frames of each held-out one, instead of five and 32."""
    monkeypatch.setattr(task, "_EPOCHS_2D", 3)
    monkeypatch.setattr(dataset, "FRAMES_2D", 3)
    root = write_root(tmp_path / "root", {0: (["r0"], ["f0"]), 1: (["r1", "r2"], ["f1", "f2"])}, {})
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        write_config(tmp_path / name, model="seresnext50", cutmix=True, mixup=True, epochs=1, type="SGD")
    assert train(root, tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        stop_after_two_steps(patched, MedicsTask)
        assert train(root, tmp_path / "stopped", "--resume", "auto") == 128 + signal.SIGTERM
    assert train(root, tmp_path / "stopped", "--resume", "auto") == 0
    whole, stopped = tmp_path / "whole" / "out", tmp_path / "stopped" / "out"
    assert_same_weights(weights(stopped / f"{NAME_2D}_last"), weights(whole / f"{NAME_2D}_last"))
    assert model_of(f"{NAME_2D}_0", whole / f"{NAME_2D}_0") == "seresnext50"
    predictions = json.loads((whole / "predictions_medics_seresnext50.json").read_text())
    assert predictions["targets"] == {"f0": 1, "r0": 0}
    model = load_model("seresnext50", whole / f"{NAME_2D}_0")
    trained = make_task(root, model="seresnext50")
    for row, sample in zip(trained.held_out, trained.validation_data(trained.held_out), strict=True):
        with torch.no_grad():
            frames = model.p_fake(sample["clip"][:, None]).sort().values
        assert predictions["probs"][row.video] == pytest.approx(frames[1].item(), abs=1e-5)  # the median


def test_damaged_clips_are_named(root, tmp_path, capsys):
    """And another one stands in; of a held-out one nothing is written."""
    trained, held_out = root / BY_PART / "1" / "r2.mp4_0_0.mp4", root / BY_PART / "0" / "r0.mp4_0_0.mp4"
    data.cut(trained)
    shutil.copy(held_out, root / BY_PART / "0" / "x.mp4_0_0.mp4")
    shutil.copy(held_out, root / BY_LABEL / "REAL" / "0_x.mp4_0_0.mp4")
    held_out.unlink()
    held_out.write_bytes(b"no clip")
    write_config(tmp_path, epochs=1)
    assert train(root, tmp_path) == 0
    printed = capsys.readouterr().err
    assert f"epoch 0: 1 samples could not be read, the first: {trained}: " in printed
    assert f"validation: 1 samples could not be read, the first: {held_out}: " in printed
    predictions = json.loads((tmp_path / "out" / PREDICTIONS).read_text())
    assert "x" in predictions["probs"] and "r0" not in predictions["probs"]
    held_out.with_name("x.mp4_0_0.mp4").write_bytes(b"no clip")
    error = error_of(capsys, root, tmp_path)
    assert error == f"{root}: of a class no held-out sample can be read; run preprocess_data.sh"
    for path in (root / BY_PART / "1").glob("*.mp4"):
        path.write_bytes(b"no clip")
    error = error_of(capsys, root, tmp_path)
    assert error.startswith(f"{root}: 6 samples after one another can't be read, so these are not the clips of")
    assert "run SYSTEM=medics preprocess_data.sh. The first: " in error


def test_training_goes_on_from_a_checkpoint(whole, made, tmp_path, capsys):
    """At a rate of nearly nothing the weights are those that were given, last layer and all."""
    init = whole / f"{NAME}_1"
    write_config(tmp_path, epochs=1, learning_rate=1e-12, pretrained=True)
    assert train(made, tmp_path, "--init", init) == 0
    start, mine = weights(init), weights(tmp_path / "out" / f"{NAME}_0")
    for key in ("conv1.weight", "layer4.0.conv2.weight", "fc.weight"):
        assert torch.allclose(mine[key], start[key], atol=1e-9)

    other = tmp_path / "other"
    save_checkpoint(other, starting_model("seresnext50", seed=0, pretrained=False))
    told = f"{other}: holds the network SEResNeXt50, and res10 is ResNet10; use it as one of seresnext50, or name"
    assert error_of(capsys, made, tmp_path, "--init", other).startswith(told)
    assert error_of(capsys, made, tmp_path, "--init", tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such")
    write_config(tmp_path)
    told = f"{other}: is a model seresnext50, not res10; name the right file or configuration"
    assert error_of(capsys, made, tmp_path, "--resume", other) == told
    write_config(tmp_path, model="res34")
    told = f"{init}: holds the network ResNet10, and res34 is ResNet34; use it as one of res10, or name another file"
    assert error_of(capsys, made, tmp_path, "--init", init) == told
    write_config(tmp_path, batch_size=3)
    last = whole / f"{NAME}_last"
    assert error_of(capsys, made, tmp_path, "--resume", last).startswith(f"--resume {last}: it was made with config.")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("i3d", "rgb_charades.pt: not there, and I3D starts from it; fetch models/rgb_charades.pt of https://"),
        ("res34", "resnet-34-kinetics.pth: not there, and ResNet34 starts from it; fetch resnet-34-kinetics.pth of"),
        ("mc3_224", f"{MODELS['mc3_112'].file}: not there, and mc3_224 starts from it; train mc3_112 first"),
        ("res10", "res10: nobody has published weights that it could start from."),
    ],
)
def test_files_to_start_from_are_missing(made, tmp_path, capsys, model, told):
    write_config(tmp_path, model=model, pretrained=True)
    error = error_of(capsys, made, tmp_path, "--starting-weights", tmp_path / "start")
    assert error.startswith(told if model == "res10" else f"{tmp_path / 'start'}/{told}")
    assert error.count("pretrained") == 1 and error.endswith(f". Or set pretrained to false in {tmp_path}/config.json")
    assert list((tmp_path / "out").iterdir()) == []


def test_clips_that_can_not_be_used(root, tmp_path, capsys):
    clip, real, fake = (
        root / BY_PART / "1" / "r1.mp4_0_0.mp4",
        root / BY_LABEL / "REAL" / "1_r1.mp4_0_0.mp4",
        root / BY_LABEL / "FAKE" / "1_r1.mp4_0_0.mp4",
    )
    write_config(tmp_path)
    os.link(real, fake)
    error = error_of(capsys, root, tmp_path)
    assert error == f"{clip}: is both in REAL and in FAKE of {BY_LABEL}; run extract_face_clips.py again"
    real.unlink()
    fake.unlink()
    error = error_of(capsys, root, tmp_path)
    assert error == f"{clip}: is neither in REAL nor in FAKE of {BY_LABEL}; run extract_face_clips.py again"
    clip.unlink()
    for parts, told in (
        ([9], f"{tmp_path / 'config.json'}: held_out_parts [9]: of none there is a clip in {root}; name other parts"),
        ([0, 1], f"{root}: other parts than held_out_parts [0, 1] of {tmp_path / 'config.json'} have no real clips"),
    ):
        write_config(tmp_path, held_out_parts=parts)
        assert error_of(capsys, root, tmp_path).startswith(told)
    write_config(tmp_path)
    (root / BY_PART / "0" / "r0.mp4_0_0.mp4").unlink()
    error = error_of(capsys, root, tmp_path)
    assert error == f"{root}: held_out_parts [0] have no real clips; hold out others"
    shutil.rmtree(root / BY_PART)
    assert error_of(capsys, root, tmp_path) == f"{root}: has no clips in {BY_PART}; run extract_face_clips.py"
    told = "--fold: is not for system medics, which takes --init, --starting-weights"
    assert error_of(capsys, root, tmp_path, "--fold", 1) == told


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (None, ": can't be read (No such file or directory); run extract_mini_videos.py"),
        ("vidfile,label\na.mp4,1\n", ": has no column filename, part; run extract_mini_videos.py"),
        ("vidfile,filename,part,label\n", ": has no rows; run extract_mini_videos.py"),
        ("vidfile,filename,part,label\na.mp4,a.mp4,00,2\n", ", line 2: label '2', vidfile 'a.mp4': a label is 0 or 1"),
        ("vidfile,filename,part,label\n../a.txt,a.mp4,00,1\n", ", line 2: label '1', vidfile '../a.txt': a label is"),
    ],
)
def test_tables_of_mini_videos_that_can_not_be_used(tmp_path, capsys, table, told):
    write_config(tmp_path, model="seresnext50")
    if table is not None:
        (tmp_path / TABLE).write_text(table)
    assert error_of(capsys, tmp_path, tmp_path).startswith(f"{tmp_path / TABLE}{told}")


def test_videos_of_any_container_have_clips(tmp_path):
    for label, name in (("REAL", "a.b.avi_0_0.mp4"), ("FAKE", "c.mp4_12_3.mp4")):
        for path in (tmp_path / BY_PART / "x" / name, tmp_path / BY_LABEL / label / f"x_{name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert [(clip.video, clip.label, clip.part) for clip in read_clips(tmp_path)] == [("a.b", 0, "x"), ("c", 1, "x")]


def test_two_processes_are_one_with_twice_the_batch(made, tmp_path):
    """Batch norms over both batches, the gradients' mean: the same but for rounding. Without CutMix, which each process
    draws for itself."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, batch_size in ((one, 2), (two, 1)):
        folder.mkdir()
        write_config(folder, batch_size=batch_size, epochs=1, type="SGD", learning_rate=0.01)
    assert train(made, one) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = processes.run([*command, *flags(made, two)], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("fake_loss") == 1
    expected, found = (weights(folder / "out" / f"{NAME}_last") for folder in (one, two))
    start = starting_model("res10", seed=1, pretrained=False).network.state_dict()
    for key, value in expected.items():
        assert torch.allclose(value.float(), found[key].float(), rtol=1e-3, atol=2e-5), key
    assert (expected["conv1.weight"] - start["conv1.weight"]).abs().max() > 1e-3  # they have learned something


@pytest.mark.slow
def test_killed_at_random_moments_and_gone_on_with(whole, made, tmp_path):
    write_config(tmp_path, cutmix=True)
    killed_and_gone_on_with(made, tmp_path, kills=3, seconds=3)
    for ending in ENDINGS:
        name = f"{NAME}_{ending}"
        assert_same_weights(weights(tmp_path / "out" / name), weights(whole / name))
    assert (tmp_path / "out" / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in whole.iterdir()}
