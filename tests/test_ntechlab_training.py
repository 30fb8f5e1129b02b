"""NtechLab's networks trained by the one trainer on small tracks: what it writes, going on to the bit, bad input."""

import json
import re
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch

from systems import registry
from systems.checkpoints import read_checkpoint
from systems.ntechlab.checkpoints import load_classifier, published_state
from systems.ntechlab.dataset import SAMPLED_FRAMES
from systems.ntechlab.face_images import IMAGES
from systems.ntechlab.models import Classifier, create_network
from systems.ntechlab.task import PAIRS_FILE, TRACKS_FOLDER, NtechlabTask
from tests import media
from tests.trainer import (
    assert_same_weights,
    error_of,
    killed_and_gone_on_with,
    stop_after_two_steps,
    train,
    weights,
)

ENCODER = "tf_efficientnet_b0_ns"
NAME = f"classifier_ntechlab_large_crop_{ENCODER}"
PREDICTIONS = f"predictions_ntechlab_large_crop_{ENCODER}.json"
WARM_UP = 2
# fakes by their originals; those of part 0 are held out
PARTS = {0: {"r0": ["f0", "g0"]}, 1: {"r1": ["f1", "g1"], "r2": ["f2"]}}


def folder_of(part, video):
    return f"dfdc_train_part_{part}/{video}.mp4_{part}_5_5"


PAIRS = [
    (folder_of(part, real), folder_of(part, fake))
    for part, videos in PARTS.items()
    for real, fakes in videos.items()
    for fake in fakes
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data root of tracks, 50 images of 56x64 each; fakes are darker."""
    root = tmp_path_factory.mktemp("tracks")
    frames = media.face_frames(50, width=60, height=64, face=48)
    for number, folder in enumerate(dict.fromkeys(folder for pair in PAIRS for folder in pair)):
        is_fake = "/f" in folder or "/g" in folder
        place = root / TRACKS_FOLDER / folder
        place.mkdir(parents=True)
        for frame, image in enumerate(frames):
            shade = (0.5 if is_fake else 0.9) + 0.02 * number
            cv2.imwrite(str(place / f"{frame}.png"), (image[:, 4:, ::-1] * shade).astype(np.uint8))
    write_pairs(root, PAIRS)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(made, tmp_path / "root")


def write_pairs(root, pairs):
    (root / PAIRS_FILE).write_text("".join(f"{real},{fake}\n" for real, fake in pairs))


def write_config(folder, *, epochs=2, batch_size=1, **changes):
    """In the warm-up steps are fast: nothing goes back through the encoder."""
    schedule = {"type": "linear", "mode": "step", "epochs": epochs, "params": {"alpha": -0.1, "beta": 1}}
    optimizer = {"batch_size": batch_size, "type": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    optimizer |= {"learning_rate": 0.005, "schedule": schedule}
    config = {"system": "ntechlab", "role": "large_crop", "encoder": ENCODER, "pretrained": False, "seed": 30}
    config |= {"batches_per_epoch": 3, "warm_up": WARM_UP, "held_out_parts": [0], "optimizer": optimizer}
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """A training of two epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    write_config(folder)
    assert train(made, folder) == 0
    return folder / "out"


def test_what_it_writes(whole):
    assert {path.name for path in whole.iterdir()} == {
        PREDICTIONS,
        *(f"{NAME}_{ending}" for ending in ("0", "1", "last", "best_dice")),
    }
    last, epoch = read_checkpoint(whole / f"{NAME}_last"), read_checkpoint(whole / f"{NAME}_1")
    assert_same_weights(last["state_dict"], epoch["state_dict"])
    assert last["epoch"] == epoch["epoch"] == 2 and "resume" in last and "resume" not in epoch
    described = {"system": "ntechlab", "network": "FrameClassifier", "role": "large_crop", "encoder": ENCODER}
    assert described.items() <= epoch.items() and epoch["input"] == [1, 224, 192]
    # the schedule begins after the warm-up, and the sixth step is its fourth
    rates = [group["lr"] for group in last["resume"]["optimizer"]["param_groups"]]
    assert rates == pytest.approx([0.005 * (1 - 0.1 * 3)])


def test_predictions_load_it(whole):
    names = [f"{NAME}_{ending}" for ending in ("0", "last", "best_dice")]
    assert registry.system_of(str(whole), names) == "ntechlab"
    for name in names:
        loaded = load_classifier(whole / name)
        assert (loaded.role, loaded.encoder) == ("large_crop", ENCODER)


def test_parts_that_are_held_out_are_validated(whole, made):
    """Each track of the part once, also the original that two fakes share; the mean over its frames."""
    predictions = json.loads((whole / PREDICTIONS).read_text())
    assert predictions["targets"] == {"f0": 1, "g0": 1, "r0": 0}
    model = Classifier(load_classifier(whole / f"{NAME}_1").network, "large_crop")
    assert predictions["probs"].keys() == predictions["targets"].keys()
    for video, probability in predictions["probs"].items():
        place = made / TRACKS_FOLDER / folder_of(0, video)
        frames = [cv2.imread(str(place / f"{number}.png"))[..., ::-1] for number in SAMPLED_FRAMES["large_crop"]]
        images = np.stack([IMAGES["large_crop"](np.ascontiguousarray(frame)) for frame in frames])
        assert probability == pytest.approx(model.p_fake(images).mean(), abs=1e-5)


def test_a_process_that_loads_changes_nothing(whole, made, tmp_path):
    write_config(tmp_path, epochs=1)
    assert train(made, tmp_path, "--workers", 1) == 0
    assert_same_weights(weights(tmp_path / "out" / f"{NAME}_0"), weights(whole / f"{NAME}_0"))


@pytest.fixture(scope="module")
def stopped(made, tmp_path_factory):
    """The same training, stopped where the warm-up ends, at an epoch's end and within the next one."""
    folder = tmp_path_factory.mktemp("stopped")
    write_config(folder)
    for stop in range(3):
        with pytest.MonkeyPatch.context() as patched:
            stop_after_two_steps(patched, NtechlabTask)
            assert train(made, folder, "--resume", "auto") == 128 + signal.SIGTERM
        shutil.copyfile(folder / "out" / f"{NAME}_last", folder / f"stop_{stop}")
    return folder


def test_the_warm_up_changes_the_classifier_alone(stopped):
    torch.manual_seed(30)
    start = published_state(create_network("large_crop", ENCODER))
    after = weights(stopped / "stop_0")
    changed = {key for key in start if not torch.equal(start[key], after[key])}
    assert changed == {"_fc.weight", "_fc.bias"}
    later = weights(stopped / "stop_1")
    assert not any(torch.equal(later[key], after[key]) for key in ("_conv_stem.weight", "_bn0.running_mean"))


def test_the_optimizer_starts_anew_after_the_warm_up(stopped):
    """In its first step the momentum is the gradient, and Nesterov's step 1.9 times that."""
    before, after = (weights(stopped / f"stop_{stop}")["_fc.bias"] for stop in (0, 1))
    state = read_checkpoint(stopped / "stop_1")["resume"]["optimizer"]["state"]
    momentum = state[max(state)]["momentum_buffer"]  # of the last parameter
    assert momentum.shape == before.shape and momentum.abs() > 1e-3
    assert (before - after).item() == pytest.approx(0.005 * 1.9 * momentum.item(), rel=1e-3)


def test_stopped_and_gone_on_with_gives_the_same_weights(stopped, whole, made, capsys):
    positions = [read_checkpoint(stopped / f"stop_{stop}")["resume"]["position"] for stop in range(3)]
    assert [(position["epoch"], position["iteration"]) for position in positions] == [(0, 2), (1, 0), (1, 2)]
    assert train(made, stopped, "--resume", "auto") == 0
    printed = capsys.readouterr().out
    assert "going on at epoch 1, step 2\n" in printed
    for name in (f"{NAME}_{ending}" for ending in ("0", "1", "last", "best_dice")):
        assert_same_weights(weights(stopped / "out" / name), weights(whole / name))
    assert (stopped / "out" / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()

    probs = json.loads((whole / PREDICTIONS).read_text())["probs"]
    (losses,) = re.findall(r"^epoch 1\nfake_loss (\S+)\nreal_loss (\S+)$", printed, re.MULTILINE)
    expected = [-np.log([probs["f0"], probs["g0"]]).mean(), -np.log(1 - probs["r0"])]
    assert [float(loss) for loss in losses] == pytest.approx(expected)


def test_the_sequence_model(made, tmp_path):
    """Two clips of seven images a batch, in mixed precision; without parts that are held out."""
    write_config(
        tmp_path, role="seq", bf16=True, epochs=1, batch_size=2, batches_per_epoch=1, warm_up=0, held_out_parts=[]
    )
    assert train(made, tmp_path) == 0
    (name,) = (path.name for path in (tmp_path / "out").iterdir() if path.name.endswith("_0"))
    assert load_classifier(tmp_path / "out" / name).role == "seq"
    assert not list((tmp_path / "out").glob("predictions*"))


def test_pairs_that_can_not_be_read(root, tmp_path, capsys):
    """Each is named, and another one stands in for it."""
    trained, held_out = (root / TRACKS_FOLDER / folder for folder in (folder_of(1, "f2"), folder_of(0, "g0")))
    (trained / "7.png").unlink()
    shutil.rmtree(held_out)
    write_config(tmp_path, epochs=1, warm_up=100)
    assert train(root, tmp_path) == 0
    printed = capsys.readouterr().err
    assert f"epoch 0: 1 samples could not be read, the first: {trained}: has no 7.png; run extract_track" in printed
    assert f"validation: 1 samples could not be read, the first: {held_out}: can't be opened" in printed
    predictions = json.loads((tmp_path / "out" / PREDICTIONS).read_text())
    assert predictions["targets"] == {"f0": 1, "r0": 0} and predictions["probs"].keys() == {"f0", "r0"}


def test_too_many_pairs_that_can_not_be_read(root, tmp_path, capsys):
    gone = [(folder_of(1, f"r{number}"), folder_of(1, f"gone{number}")) for number in range(11, 22)]
    write_pairs(root, PAIRS + gone)
    write_config(tmp_path, batches_per_epoch=14, warm_up=100)
    error = error_of(capsys, root, tmp_path)
    assert re.match(rf"11 samples can't be read, more than the 10 that may be left out; the first: {root}\S+:", error)
    shutil.rmtree(root / TRACKS_FOLDER)
    error = error_of(capsys, root, tmp_path)
    assert error.startswith(f"{root / TRACKS_FOLDER}: 14 samples after one another can't be read, so these are not")
    assert list((tmp_path / "out").iterdir()) == []


def test_checkpoints_of_others_are_not_gone_on_with(whole, made, tmp_path, weights_dir, capsys):
    last = whole / f"{NAME}_last"

    def error(checkpoint, **changes):
        write_config(tmp_path, **changes)
        return error_of(capsys, made, tmp_path, "--resume", checkpoint)

    assert error(last, role="re") == f"{last}: its role is large_crop, not re; name the right file or configuration"
    assert error(last, encoder="tf_efficientnet_b1_ns").startswith(f"{last}: its encoder is {ENCODER}, not tf_eff")
    assert error(last, role="seq").startswith(f"{last}: its role is large_crop, not seq")
    assert error(last, warm_up=3).startswith(f"--resume {last}: it was made with config.warm_up 2, this run has 3;")
    assert error(weights_dir / "first").startswith(f"{weights_dir / 'first'}: is no checkpoint of NtechLab's system")


@pytest.mark.parametrize(
    "line",
    [
        "../../etc,dfdc_train_part_1/f1.mp4_1_5_5",
        "dfdc_train_part_1/r1.mp4_1_5_5,../secret",
        "dfdc_train_part_1/r1.mp4_1_5_5,dfdc_train_part_1/..",
        "dfdc_train_part_1/../..,dfdc_train_part_1/f1.mp4_1_5_5",
        "/etc/passwd,dfdc_train_part_1/f1.mp4_1_5_5",
        "dfdc_train_part_1/r1.mp4_1_5_5,/etc",
        "dfdc_train_part_1/r1\0.mp4_1_5_5,dfdc_train_part_1/f1.mp4_1_5_5",
        "dfdc_train_part_1/r1.mp4_1_5_5,f1.mp4_1_5_5",
        "dfdc_train_part_1/r1.mp4_1_5_5",
        "a/" + "\u202e" * 5000 + "/b,dfdc_train_part_1/f1.mp4_1_5_5",
    ],
)
def test_lines_that_lead_elsewhere(tmp_path, capsys, line):
    write_pairs(tmp_path, PAIRS)
    file = tmp_path / PAIRS_FILE
    file.write_text(f"{file.read_text()}{line}\n")
    write_config(tmp_path)
    error = error_of(capsys, tmp_path, tmp_path)
    assert error.startswith(f"{file}:6: ") and error.endswith("; remove the line")


def test_what_can_not_be_trained_on(root, tmp_path, capsys):
    write_config(tmp_path)
    write_pairs(root, [])
    told = f"{root}: 0 pairs of tracks to train on are fewer than a batch of 1"
    assert error_of(capsys, root, tmp_path).startswith(told)
    (root / PAIRS_FILE).write_bytes(b"\xff\xfe")
    assert f"{root / PAIRS_FILE}: can't be read" in error_of(capsys, root, tmp_path)
    (root / PAIRS_FILE).unlink()
    error = error_of(capsys, root, tmp_path)
    assert error.startswith(f"{root / PAIRS_FILE}: can't be read") and error.endswith("run extract_track_crops.py")
    for flag in ("--fold", "--padding-part", "--freeze-epochs", "--init"):
        told = f"{flag}: is not for system ntechlab, which takes no flag of its own"
        assert error_of(capsys, root, tmp_path, flag, 1) == told
    write_config(tmp_path, fold=0)
    assert f"{tmp_path / 'config.json'}: fold: unknown key; allowed: " in error_of(capsys, root, tmp_path)
    write_config(tmp_path, batches_per_epoch=10**9)
    assert "batches_per_epoch: 1000000000 is not allowed" in error_of(capsys, root, tmp_path)
    assert not (tmp_path / "out").exists()


def test_weights_to_start_from_that_can_not_be_had(made, tmp_path, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("systems.ntechlab.models.timm.create_model", no_network)
    write_config(tmp_path, pretrained=True)
    error = error_of(capsys, made, tmp_path)
    assert "OSError: no route to host). Run once with internet access" in error
    assert error.endswith(f"from elsewhere. Or set pretrained to false in {tmp_path / 'config.json'}")


@pytest.mark.slow
def test_killed_at_random_moments_and_gone_on_with(whole, made, tmp_path):
    write_config(tmp_path)
    killed_and_gone_on_with(made, tmp_path, kills=3, seconds=3)
    for name in (f"{NAME}_{ending}" for ending in ("0", "1", "last", "best_dice")):
        assert_same_weights(weights(tmp_path / "out" / name), weights(whole / name))
    assert (tmp_path / "out" / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in whole.iterdir()}
