"""The best epochs' checkpoints as fp16 copies: chosen, cast, kept, and refused."""

import os
import shutil

import numpy as np
import pytest
import torch

from systems.seferbekov.checkpoints import load_model, save_model
from systems.seferbekov.models import DeepFakeClassifier
from tests import media
from training.tools import select_checkpoints

STEM = f"DeepFakeClassifier_{media.ENCODER}_0"
RESUME = {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]}, "step": [1]}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Hundreds of small tensors: several threads wait for each other as soon as another process needs a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return DeepFakeClassifier(media.ENCODER, pretrained=False)


@pytest.fixture(scope="module")
def template(tmp_path_factory, module):
    """Logs and checkpoints of epochs 0 to 3, of which 2 and then 1 are the best."""
    folder = tmp_path_factory.mktemp("training")
    losses = [0.9, 0.4, 0.3, 0.5]
    (folder / "log").write_text("".join(f"epoch {i}\nfake_loss {x}\nreal_loss {x}\n" for i, x in enumerate(losses)))
    (folder / "trained").mkdir()
    for epoch in range(4):
        save(folder, module, epoch)
    for other in (f"b7_111_{STEM}_last", f"b7_111_{STEM}_best_dice", f"b7_555_{STEM}_2", "b7_111_notes", "b7_111_1"):
        (folder / "trained" / other).touch()
    return folder


@pytest.fixture
def folder(template, tmp_path):
    """Links to the same files: a test replaces one, and never writes into it."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, copy_function=os.link)
    return tmp_path


def save(folder, module, number, run="b7_111_", bias=None, **changes):
    """Epoch `number`'s checkpoint as training writes it; `bias` tells it from others."""
    with torch.no_grad():
        module.fc.bias.fill_(number + 0.1 if bias is None else bias)
    extra = {"epoch": number + 1, "bce_best": 0.25, "resume": RESUME, "optimizer": RESUME["optimizer"], **changes}
    path = folder / "trained" / f"{run}{STEM}_{number}"
    save_model(path, module, network="DeepFakeClassifier", encoder=media.ENCODER, input_size=96, **extra)
    return path


def select(folder, *flags, prefix="b7_111_", count=2):
    paths = ["--log-file", "log", "--checkpoints", "trained", "--output-dir", "weights"]
    paths = [part if part.startswith("--") else str(folder / part) for part in paths]
    return select_checkpoints.main([*paths, "--prefix", prefix, "--count", str(count), "--after-epoch", "0", *flags])


def replace(path, content):
    path.unlink()
    torch.save(content, path)


def read(path):
    return torch.load(path, weights_only=True)


def names(folder):
    return sorted(os.listdir(folder / "weights")) if (folder / "weights").exists() else []


def test_copies(folder, module, capsys):
    assert select(folder) == 0
    assert names(folder) == [f"final_111_{STEM}_1", f"final_111_{STEM}_2"]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "best 2 after epoch 0, of 4 epochs by (1.4 * fake + real) / 2:",
        "  epoch 2: fake 0.30000, real 0.30000, weighted 0.36000",
        "  epoch 1: fake 0.40000, real 0.40000, weighted 0.48000",
        f"{folder}/weights/final_111_{STEM}_2",
        f"{folder}/weights/final_111_{STEM}_1",
        "2 checkpoints: 2 written, 0 there before",
    ]
    path = folder / "weights" / f"final_111_{STEM}_2"
    content, source = read(path), read(folder / "trained" / f"b7_111_{STEM}_2")
    state = content.pop("state_dict")
    assert content == {
        "system": "seferbekov",
        "network": "DeepFakeClassifier",
        "encoder": media.ENCODER,
        "input_size": 96,
        "input": [1, 96, 96],
        "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "epoch": 3,
        "bce_best": 0.25,
    }
    assert state.keys() == source["state_dict"].keys() and all(key.startswith("module.") for key in state)
    for key, value in source["state_dict"].items():
        wanted = value.half() if value.is_floating_point() else value
        assert state[key].dtype == wanted.dtype and torch.equal(state[key], wanted)
    loaded = load_model(path)
    assert loaded.input_size == 96 and loaded.module.fc.bias.item() == np.float16(2.1)
    assert path.stat().st_size < 0.6 * sum(4 * value.numel() for value in source["state_dict"].values())


def test_again(folder, capsys):
    assert select(folder, count=1) == 0
    first = folder / "weights" / f"final_111_{STEM}_2"
    before = first.stat().st_mtime_ns
    capsys.readouterr()
    assert select(folder) == 0
    out = capsys.readouterr().out
    assert f"final_111_{STEM}_2 (was there)\n" in out and "2 checkpoints: 1 written, 1 there before" in out
    assert first.stat().st_mtime_ns == before and len(names(folder)) == 2


@pytest.mark.parametrize("changes", [{"bias": 7}, {"epoch": 9}, {}], ids=["weights", "epoch", "damaged"])
def test_other_content_is_not_overwritten(folder, module, capsys, changes):
    assert select(folder) == 0
    copy = folder / "weights" / f"final_111_{STEM}_1"
    if changes:
        save(folder, module, 1, **changes)
    else:
        copy.write_bytes(b"nothing")
    before = copy.read_bytes()
    (folder / "weights" / f"final_111_{STEM}_2").unlink()
    assert select(folder) == 1
    err = capsys.readouterr().err
    assert f"/weights: final_111_{STEM}_1 is there with other content; use --overwrite" in err and "_2" not in err
    assert copy.read_bytes() == before and len(names(folder)) == 1  # nothing was written
    assert select(folder, "--overwrite") == 0
    assert copy.read_bytes() != before and len(names(folder)) == 2
    assert select(folder) == 0


def test_missing_checkpoint(folder, capsys):
    (folder / "trained" / f"b7_111_{STEM}_1").unlink()
    assert select(folder) == 1
    err = capsys.readouterr().err
    assert f"trained: no checkpoint b7_111_{STEM}_1, which the log says is among the best; copy it" in err
    assert names(folder) == []
    assert select(folder, count=1) == 0  # epoch 2 alone


@pytest.mark.parametrize(
    "prefix, flags, name",
    [
        ("b7_111_", ["--name", "mine"], "mine"),
        ("b7_111", [], "111"),
        (f"b7_111_{STEM}_", [], "111"),
        ("classifier_", [], "classifier"),
    ],
)
def test_name(folder, module, prefix, flags, name):
    if prefix == "classifier_":
        save(folder, module, 2, run=prefix)
    assert select(folder, *flags, prefix=prefix, count=1) == 0
    assert names(folder) == [f"final_{name}_{STEM}_2"]


@pytest.mark.parametrize("name", ["", "a/b", "a\nb"])
def test_bad_name(folder, capsys, name):
    assert select(folder, "--name", name) == 1
    assert "can't be a part of a file name; give one such as 111" in capsys.readouterr().err


def test_prefix_of_several_and_of_none(folder, module, capsys):
    save(folder, module, 2, run="b7_1119_")
    assert select(folder, prefix="b7_111") == 1
    err = capsys.readouterr().err
    assert f"--prefix b7_111: belongs to several trainings; give one of b7_1119_{STEM}_, b7_111_{STEM}_" in err
    assert select(folder, prefix="b5") == 1
    assert "trained: holds no b5<network>_<encoder>_<fold>_<epoch>; check --prefix" in capsys.readouterr().err


def test_too_large_for_fp16(folder, module, capsys):
    weight = module.fc.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] = 70000
    path = save(folder, module, 2)
    with torch.no_grad():
        weight.copy_(kept)
    assert select(folder, count=1) == 1
    err = capsys.readouterr().err
    assert f"error: {path}: fc.weight has numbers beyond 65504, too large for fp16" in err
    assert names(folder) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"state_dict": {"module.fc.bias": torch.zeros(1)}}, "tensors missing"),
        ({"network": "DeepFakeClassifierSRM"}, "its network is DeepFakeClassifierSRM, not DeepFakeClassifier"),
        ({"epoch": "three"}, "its epoch is a str, not a number"),
        ({"input_size": [1]}, "its input_size is a list, not a number"),
    ],
)
def test_wrong_content(folder, capsys, changes, message):
    path = folder / "trained" / f"b7_111_{STEM}_2"
    replace(path, {**read(path), **changes})
    assert select(folder, count=1) == 1
    assert message in capsys.readouterr().err and names(folder) == []


class _Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/dfdc-test-was-attacked",)


def test_code_in_a_pickle_is_refused(folder, capsys):
    replace(folder / "trained" / f"b7_111_{STEM}_2", {"state_dict": {}, "resume": _Attack()})
    assert select(folder, count=1) == 1
    assert f"b7_111_{STEM}_2: refused" in capsys.readouterr().err
    assert not os.path.exists("/tmp/dfdc-test-was-attacked")


def test_of_the_reference(folder):
    """No description, no "module.", a NumPy scalar: the copy says what it is all the same."""
    path = folder / "trained" / f"b7_111_{STEM}_2"
    state = {key.removeprefix("module."): value for key, value in read(path)["state_dict"].items()}
    replace(path, {"state_dict": state, "epoch": 3, "bce_best": np.float64(0.5)})
    assert select(folder, count=1) == 0 and select(folder, count=1) == 0
    content = read(folder / "weights" / f"final_111_{STEM}_2")
    assert content["encoder"] == media.ENCODER and content["input_size"] == 380 and content["bce_best"] == 0.5


def test_the_checkpoints_themselves_are_not_replaced(folder, module, capsys):
    path = save(folder, module, 2, run="final_111_")
    before = path.read_bytes()
    flags = ["--output-dir", str(folder / "trained"), "--overwrite"]
    assert select(folder, *flags, prefix="final_111_", count=1) == 1
    assert "is itself one of the checkpoints; choose another --name" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_fewer_epochs_than_asked_for(folder, capsys):
    assert select(folder, count=9) == 0
    assert "too few epochs come after epoch 0: all epochs count\nbest 4 of all 4" in capsys.readouterr().out
    assert len(names(folder)) == 4


def test_folders_that_do_not_do(folder, capsys):
    (folder / "file").touch()
    assert select(folder, "--output-dir", str(folder / "file" / "x")) == 1
    assert "/file/x: can't be made (Not a directory); name another folder" in capsys.readouterr().err
    assert select(folder, "--checkpoints", str(folder / "gone")) == 1
    assert "gone: can't be read (No such file or directory); name a folder" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--count", "0"], ["--after-epoch", "-2"], ["--after-epoch", "x"]])
def test_bad_flags(folder, flags):
    with pytest.raises(SystemExit, match="2"):
        select(folder, *flags)
