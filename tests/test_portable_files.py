"""Each network of the three systems, small where it can be, as ONNX and safetensors: what PyTorch says."""

import numpy as np
import pytest
import safetensors.torch
import torch

from engines.onnxruntime_engine import session
from systems.checkpoints import CheckpointError
from systems.fixed_weights import fix_weights
from systems.medics.models import create_model, save_checkpoint
from systems.medics.strategy import even_mirrored, p_fake_of_faces, with_mirrors
from systems.model_cards import model_card
from systems.ntechlab import checkpoints
from systems.ntechlab.checkpoints import PUBLISHED_NAMES, export_published, load_classifier, save_classifier
from systems.ntechlab.models import Classifier, create_network
from systems.portable import open_model
from systems.portable_files import write_onnx, write_safetensors
from systems.seferbekov.checkpoints import save_model
from systems.seferbekov.models import NETWORKS
from tests.engines import needs_onnx

ENCODER = "tf_efficientnet_b0_ns"
SOURCE = {"file": "f", "bytes": 1, "sha256": "0" * 64}


def pixels(shape, seed=0):
    cells = np.random.default_rng(seed).integers(0, 256, (*shape[:-3], shape[-3] // 8, shape[-2] // 8, 3), np.uint8)
    return cells.repeat(8, -3).repeat(8, -2)


def write_winners(folder, name):
    network = fix_weights(NETWORKS[name](ENCODER), 1, 1.5)
    network.fc.weight.data *= 150
    save_model(folder / "model", network, network=name, encoder=ENCODER, input_size=64)
    return "seferbekov"


def write_ntechlabs(folder, role):
    network = fix_weights(create_network(role, ENCODER), 1, 1.5)
    network.classifier.weight.data *= 500
    save_classifier(folder / "model", network, role=role, encoder=ENCODER)
    return "ntechlab"


def write_medics(folder, name):
    model = create_model(name)
    fix_weights(model.network, 1, 1.2)
    save_checkpoint(folder / "model", model)
    return "medics"


# of the two sizes of MC3 one is enough; ResNet34 is the same code as ResNet10 with more blocks. Large ones take 20 s
MODELS = [
    *(pytest.param(write_winners, name, id=name) for name in NETWORKS),
    *(pytest.param(write_ntechlabs, role, id=role) for role in ("re", "seq")),
    *(pytest.param(write_medics, name, id=name) for name in ("res10", "mc3_112")),
    *(pytest.param(write_medics, name, id=name, marks=pytest.mark.slow) for name in ("i3d", "r2p1_112", "seresnext50")),
]


@needs_onnx
@pytest.mark.parametrize("write, name", MODELS)
def test_each_network(tmp_path, write, name):
    system = write(tmp_path, name)
    model = open_model(system, {}, "model", tmp_path / "model")
    card = model_card(model, system=system, source=SOURCE)
    assert write_safetensors(tmp_path / "a.safetensors", system, model, card) == 0
    assert write_onnx(tmp_path / "a.onnx", model, card) <= 1e-4
    again = open_model(system, {}, "model", tmp_path / "a.safetensors")
    images = model.pixels(9, n=2, t=model.least.get("t", 0) + 1)
    with torch.inference_mode():
        expected, logits = (values.numpy() for values in model.module(images))
        assert np.array_equal(again.module(images)[1].numpy(), logits)
    computed = session((tmp_path / "a.onnx").read_bytes(), torch.device("cpu"))
    found = computed.run(["p_fake", "logit"], {"pixels": images.numpy()})
    assert found[0].shape == found[1].shape == expected.shape
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    np.testing.assert_allclose(found[1], np.log(expected / (1 - expected)), atol=1e-3)
    assert np.ptp(expected) > 1e-6 and 0.001 < expected.mean() < 0.999


def test_probabilities_are_the_systems_own_ntechlab(tmp_path):
    for role, shape in (("re", (2, 224, 192, 3)), ("seq", (2, 7, 224, 192, 3))):
        write_ntechlabs(tmp_path, role)
        model = open_model("ntechlab", {}, "model", tmp_path / "model")
        network = model.module.network
        images = pixels(shape)
        with torch.inference_mode():
            ours = model.module(torch.from_numpy(images))[0].numpy()
        np.testing.assert_allclose(ours, Classifier(network, role).p_fake(images), atol=1e-5)


@pytest.mark.parametrize("name", ["res10", "seresnext50"])
@torch.inference_mode()
def test_probabilities_are_the_systems_own_medics(tmp_path, name):
    """With an even number of frames the lower of the two in the middle counts."""
    write_medics(tmp_path, name)
    model = open_model("medics", {}, "model", tmp_path / "model")
    clip = pixels((4, 256, 256, 3))
    expected = p_fake_of_faces(model.module.model, [clip])
    if name == "res10":
        ours = model.module(with_mirrors(torch.from_numpy(clip)[None]))[0].mean().numpy()
    else:
        ours = model.module(torch.from_numpy(even_mirrored(clip)[None]))[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_published_files_stay_in_half_precision(tmp_path, monkeypatch):
    """NtechLab's: bare tensors, whose folder's name tells the role; in the new file the card does."""
    monkeypatch.setattr(checkpoints, "PUBLISHED_ENCODER", ENCODER)
    folder = tmp_path / PUBLISHED_NAMES["large_crop"]
    folder.mkdir()
    network = fix_weights(create_network("large_crop", ENCODER), 1, 1.5)
    export_published(folder / "snapshot_100000.fp16.pth", network)
    model = open_model("ntechlab", {}, folder.name, folder / "snapshot_100000.fp16.pth")
    card = model_card(model, system="ntechlab", source=SOURCE)
    assert "a file of this name, at https://github.com/NTech-Lab" in card["published"]
    assert write_safetensors(tmp_path / "a.safetensors", "ntechlab", model, card) == 0
    state = safetensors.torch.load_file(tmp_path / "a.safetensors")
    published = torch.load(folder / "snapshot_100000.fp16.pth", weights_only=True)
    assert state.keys() == published.keys() and state["_fc.weight"].dtype == torch.float16
    assert all(torch.equal(state[key], published[key]) for key in state)
    assert load_classifier(tmp_path / "a.safetensors").role == "large_crop"


def test_a_model_of_the_other_kind_in_the_same_system(tmp_path):
    write_medics(tmp_path, "res10")
    model = open_model("medics", {}, "model", tmp_path / "model")
    card = model_card(model, system="medics", source=SOURCE)
    card["checkpoint"]["model"] = "mc3_112"
    with pytest.raises(CheckpointError, match="holds the network ResNet10, and mc3_112 is mc3_18"):
        write_safetensors(tmp_path / "a.safetensors", "medics", model, card)
    assert not (tmp_path / "a.safetensors").exists()
