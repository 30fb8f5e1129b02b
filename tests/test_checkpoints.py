"""Checkpoint files: the published format, this project's, and files that must be refused."""

import os

import numpy as np
import pytest
import torch

from systems.checkpoints import CheckpointError
from systems.seferbekov.checkpoints import load_model, save_model
from systems.seferbekov.models import DeepFakeClassifier, DeepFakeClassifierGWAP
from tests import media
from training.tools import check_checkpoint


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return DeepFakeClassifier(media.ENCODER).state_dict()


def save(path, content, **kwargs):
    torch.save(content, path, **kwargs)
    return path


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    module = DeepFakeClassifierGWAP(media.ENCODER)
    path = tmp_path / "model"
    save_model(path, module, network="DeepFakeClassifierGWAP", encoder=media.ENCODER, input_size=96, epoch=3)
    loaded = load_model(path)
    assert loaded.input_size == 96 and type(loaded.module) is DeepFakeClassifierGWAP and not loaded.module.training
    for key, value in module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[key], value)
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 3 and all(key.startswith("module.") for key in content["state_dict"])
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_published_format(tmp_path, state, zipped, prefix):
    """As PyTorch of 2020 wrote it: a NumPy scalar beside the weights, under the module names of NumPy 1."""
    content = {
        "epoch": 36,
        "state_dict": {prefix + key: value for key, value in state.items()},
        "bce_best": np.float64(0.2),
    }
    path = save(tmp_path / "published", content, _use_new_zipfile_serialization=zipped)
    if not zipped:
        data = path.read_bytes()
        assert b"numpy._core.multiarray" in data
        path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    loaded = load_model(path, encoder=media.ENCODER, input_size=64)
    assert loaded.input_size == 64
    assert torch.equal(loaded.module.fc.weight, state["fc.weight"])


def test_half_precision_weights_become_single(tmp_path, state):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    loaded = load_model(save(tmp_path / "half", {"state_dict": halves}), encoder=media.ENCODER)
    assert loaded.module.fc.weight.dtype == torch.float32 and loaded.input_size == 380


def test_the_file_knows_better_than_the_flags(tmp_path):
    path = media.write_checkpoint(tmp_path / "model")
    assert load_model(path, encoder="tf_efficientnet_b7_ns", input_size=380).input_size == media.SIZE


class _Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/dfdc-test-was-attacked",)


def test_code_in_a_pickle_is_refused(tmp_path):
    path = save(tmp_path / "attack", {"state_dict": _Attack()})
    with pytest.raises(CheckpointError, match="attack: refused"):
        load_model(path)
    assert not os.path.exists("/tmp/dfdc-test-was-attacked")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not a PyTorch checkpoint"),
        (b"<html>404</html>", "is not a PyTorch checkpoint|refused"),
        (b"PK\x03\x04" + bytes(100), "is not a PyTorch checkpoint"),
    ],
    ids=["empty", "html", "broken zip"],
)
def test_no_checkpoint(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_cut_checkpoint(tmp_path):
    path = media.write_checkpoint(tmp_path / "model")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is not a PyTorch checkpoint, or is damaged"):
        load_model(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "holds a list"),
        ({"state_dict": {}}, "holds no state_dict of tensors"),
        ({"epoch": 3}, "holds no state_dict of tensors"),
        ({"network": "Inception", "state_dict": {}}, "network 'Inception' is unknown; known: DeepFakeClassifier"),
        ({"encoder": "b9", "state_dict": {}}, "encoder 'b9' is unknown"),
        ({"network": ["a"], "state_dict": {}}, "network is a list, not a name"),
        ({"network": "", "state_dict": {}}, "network '' is unknown"),
        ({"input_size": torch.zeros(2), "state_dict": {}}, "input_size tensor"),
        ({"input_size": True, "state_dict": {}}, "input_size True is"),
        ({"input_size": -1, "state_dict": {}}, "input_size -1 is not a whole number from 32"),
        ({"input_size": 10**9, "state_dict": {}}, "input_size 1000000000 is not"),
    ],
)
def test_wrong_content(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        load_model(save(tmp_path / "file", content))


def test_wrong_encoder_names_the_remedy(tmp_path, state):
    path = save(tmp_path / "model", {"state_dict": state})
    with pytest.raises(CheckpointError, match=r"is not a DeepFakeClassifier on tf_efficientnet_b2_ns.*--encoder"):
        load_model(path, encoder="tf_efficientnet_b2_ns")


def test_missing_tensor_is_not_forgiven(tmp_path, state):
    path = save(tmp_path / "model", {"state_dict": {key: value for key, value in state.items() if key != "fc.bias"}})
    with pytest.raises(CheckpointError, match=r"1 tensors missing, 0 unknown.*fc\.bias"):
        load_model(path, encoder=media.ENCODER)


@pytest.mark.parametrize(
    "value, message",
    [
        (torch.full((1,), torch.nan), "fc.bias holds numbers that are not finite"),
        (torch.zeros(1, dtype=torch.int64), "fc.bias is no plain tensor of weights"),
        (torch.zeros(1, dtype=torch.complex64), "fc.bias is no plain tensor of weights"),
        (torch.zeros(1).to_sparse(), "fc.bias is no plain tensor of weights"),
        (torch.zeros(1, device="meta"), "fc.bias is no plain tensor of weights"),
    ],
    ids=["nan", "int", "complex", "sparse", "meta"],
)
def test_unsound_weights(tmp_path, state, value, message):
    path = save(tmp_path / "model", {"state_dict": {**state, "fc.bias": value}})
    with pytest.raises(CheckpointError, match=message):
        load_model(path, encoder=media.ENCODER)


def test_missing_and_unreadable_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such checkpoint; ./download_weights.sh"):
        load_model(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="can't be opened"):
        load_model(tmp_path)


def test_check_checkpoint_tool(tmp_path, capsys):
    good, bad = media.write_checkpoint(tmp_path / "good"), tmp_path / "bad"
    bad.write_bytes(b"nothing")
    assert check_checkpoint.main([str(good)]) == 0
    assert "good: DeepFakeClassifier, 362 tensors, input 64 px" in capsys.readouterr().out
    assert check_checkpoint.main([str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert "bad: refused" in captured.err and "good" in captured.out
