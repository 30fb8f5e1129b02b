"""The Medics' networks without their weights: shapes, padding, shortcuts, input, and the files of weights."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from systems.checkpoints import CheckpointError
from systems.imagenet import PretrainedWeightsError
from systems.medics import i3d, resnet3d
from systems.medics.models import MODELS, ClipModel, FrameModel, create_model, load_model, save_model
from systems.medics.starting_weights import starting_model


class Seen(nn.Module):
    """Keeps its input, and answers with as many logits as a network would."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        self.x = x
        return torch.arange(float(len(x) * self.classes)).view(len(x), self.classes).squeeze(1)


@pytest.fixture
def clips():
    return torch.randint(0, 256, (2, 9, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_eight_models():
    assert list(MODELS) == [
        "i3d",
        "res34",
        "mc3_112",
        "mc3_224",
        "r2p1_112",
        "i3d_cutmix",
        "r2p1_cutmix",
        "seresnext50",
    ]
    with pytest.raises(ValueError, match="unknown model 'i3d_big'; use one of i3d, res34"):
        create_model("i3d_big")


@pytest.mark.parametrize("size, lacking", [(8, (2, 3)), (7, (3, 3)), (1, (3, 3))])
def test_same_padding(size, lacking):
    padded = i3d.pad_same(torch.ones(1, 1, size, 4, 4), (7, 2, 3), (2, 2, 1))
    assert padded.shape[2:] == (size + sum(lacking), 4, 6)
    assert padded[0, 0, :, 0, 1].tolist() == [0] * lacking[0] + [1] * size + [0] * lacking[1]


def test_i3d_positions_in_time():
    network = i3d.I3D().eval()
    positions = []
    network.logits.register_forward_hook(lambda module, args, out: positions.append(tuple(out.shape[2:])))
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 9, 224, 224)).shape == (1, 2)
    assert positions == [(1, 1, 1)]


def test_shortcut_without_parameters():
    block = resnet3d.BasicBlock(2, 4, 2, shortcut_gradient=True)
    x = torch.arange(54.0).view(1, 2, 3, 3, 3)
    shortcut = block._shortcut(x)
    assert shortcut.shape == (1, 4, 2, 2, 2) and (shortcut[:, 2:] == 0).all()
    assert shortcut[0, 0].flatten().tolist() == [0, 2, 6, 8, 18, 20, 24, 26]


@pytest.mark.parametrize("flows", [True, False])
def test_gradient_of_shortcuts(flows):
    block = resnet3d.BasicBlock(2, 4, 2, shortcut_gradient=flows)
    nn.init.zeros_(block.bn2.weight)  # nothing comes through the convolutions
    x = torch.rand(1, 2, 4, 4, 4, requires_grad=True)
    block(x).sum().backward()
    assert bool(x.grad.abs().sum() > 0) is flows
    network = create_model("res34", shortcut_gradient=flows).network
    assert {each.shortcut_gradient for each in network.modules() if isinstance(each, resnet3d.BasicBlock)} == {flows}


def test_input_of_clip_models(clips):
    middle = clips[:, :, 16:240, 16:240].permute(0, 4, 1, 2, 3).float()
    expected = {"i3d": middle / 255 * 2 - 1, "res34": middle}
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected["mc3_224"] = (middle / 255 - mean) / std
    expected["r2p1_112"] = nn.functional.avg_pool3d(expected["mc3_224"], (1, 2, 2))
    for name, wanted in expected.items():
        model = ClipModel(MODELS[name], Seen(2))
        logits = model.logits(clips)
        torch.testing.assert_close(model.network.x, wanted, rtol=0, atol=2e-6)
        torch.testing.assert_close(model.p_fake(clips), 1 - logits.softmax(1)[:, 1])
    assert (model.p_fake(clips) < 0.3).all()  # the larger logit is REAL's


def test_input_of_the_frame_model(clips):
    model = FrameModel(MODELS["seresnext50"], Seen(1))
    logits = model.logits(clips)
    assert logits.tolist() == [list(range(9)), list(range(9, 18))]
    red = (int(clips[1, 0, 7, 9, 0]) / 255 - 0.406) / 0.225  # comes last
    assert model.network.x.shape == (18, 3, 256, 256) and float(model.network.x[9, 2, 7, 9]) == pytest.approx(
        red, abs=1e-6
    )
    assert model.p_fake(clips)[0] == torch.sigmoid(torch.tensor(4.0))
    assert model.p_fake(clips[:, :4])[0] == torch.sigmoid(torch.tensor(1.0))  # the lower middle value


def test_clips_that_a_model_cannot_take(clips):
    model = ClipModel(MODELS["i3d"], Seen(2))
    with pytest.raises(ValueError, match="i3d: a clip of 8 frames; it takes 9 or more"):
        model.p_fake(clips[:, :8])
    for wrong in (clips[:, :, :224, :224], clips.float(), clips[0]):
        with pytest.raises(ValueError, match=r"give uint8 RGB \(n, t, 256, 256, 3\)"):
            model.p_fake(wrong)


@pytest.fixture(scope="module")
def new_mc3():
    return starting_model("mc3_112", seed=3, pretrained=False)


def test_checkpoints_are_read_back(new_mc3, tmp_path):
    save_model(tmp_path / "bare", new_mc3)
    prefixed = {f"module.{key}": value for key, value in new_mc3.network.state_dict().items()}
    torch.save({"state_dict": prefixed}, tmp_path / "ours")
    for path in (tmp_path / "bare", tmp_path / "ours"):
        loaded = load_model("mc3_224", path)  # the same network
        assert not loaded.training and loaded.spec.size == 224
        for key, value in new_mc3.network.state_dict().items():
            torch.testing.assert_close(loaded.network.state_dict()[key], value, rtol=0, atol=0)


def test_checkpoints_of_other_networks(new_mc3, tmp_path):
    path = tmp_path / "mc3.model"
    save_model(path, new_mc3)
    told = "holds the network mc3_18, and i3d is I3D; use it as one of mc3_112, mc3_224, or name another file"
    with pytest.raises(CheckpointError, match=told):
        load_model("i3d", path)
    torch.save({"fc.weight": torch.zeros(400, 512)}, path)
    with pytest.raises(CheckpointError, match="is not a mc3_18: 121 tensors missing, 0 unknown, 1 of another shape"):
        load_model("mc3_112", path)
    torch.save({**new_mc3.network.state_dict(), "fc.bias": torch.tensor([0, torch.nan])}, path)
    with pytest.raises(CheckpointError, match=r"fc\.bias holds numbers that are not finite"):
        load_model("mc3_112", path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"mc3\.model: .*damaged"):
        load_model("mc3_112", path)


def test_new_weights_come_from_the_seed(new_mc3):
    state = torch.get_rng_state()
    again = starting_model("mc3_112", seed=3, pretrained=False)
    assert torch.equal(torch.get_rng_state(), state) and again.training
    for key, value in new_mc3.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value)


@pytest.mark.parametrize(
    "name, told",
    [
        ("i3d", "rgb_charades.pt: not there, and I3D starts from it; fetch"),
        ("i3d_cutmix", "rgb_charades.pt: not there"),
        ("res34", "resnet-34-kinetics.pth: not there"),
        ("mc3_224", "mc3_18_112_1cy_lilaug_nonorm_e9_l0.1905.model: not there, .* train mc3_112 first"),
    ],
)
def test_files_to_start_from_are_missing(name, told, tmp_path):
    with pytest.raises(PretrainedWeightsError, match=told):
        starting_model(name, seed=0, folder=tmp_path)


def test_charades_weights(tmp_path):
    torch.manual_seed(0)
    charades = i3d.I3D(classes=157)
    torch.save(charades.state_dict(), tmp_path / "rgb_charades.pt")
    network = starting_model("i3d", seed=0, folder=tmp_path).network
    assert torch.equal(network.Mixed_4b.b1b.conv3d.weight, charades.Mixed_4b.b1b.conv3d.weight)
    assert network.logits.conv3d.weight.shape[0] == 2


def test_kinetics_weights_of_old_pytorch(tmp_path):
    torch.manual_seed(0)
    kinetics = resnet3d.ResNet34(classes=400)
    state = {f"module.{key}": value for key, value in kinetics.state_dict().items() if "num_batches" not in key}
    path = tmp_path / "resnet-34-kinetics.pth"
    torch.save({"state_dict": state, "arch": "resnet-34"}, path)
    network = starting_model("res34", seed=0, folder=tmp_path).network
    assert torch.equal(network.layer3[5].conv2.weight, kinetics.layer3[5].conv2.weight)
    assert network.fc.weight.shape == (2, 512)
    state.pop("module.layer3.5.conv2.weight")
    torch.save({"state_dict": state}, path)
    with pytest.raises(CheckpointError, match="1 tensors missing"):
        starting_model("res34", seed=0, folder=tmp_path)


def test_kinetics_weights_of_torchvision(new_mc3, monkeypatch):
    kinetics = torchvision.models.video.mc3_18(num_classes=400)
    monkeypatch.setattr(
        torchvision.models._api, "load_state_dict_from_url", lambda url, **kwargs: kinetics.state_dict()
    )
    network = starting_model("mc3_112", seed=3).network
    assert torch.equal(network.layer4[1].conv2[0].weight, kinetics.layer4[1].conv2[0].weight)
    assert torch.equal(network.fc.weight, new_mc3.network.fc.weight)


def test_imagenet_weights_of_timm(monkeypatch):
    create = timm.create_model
    imagenet = create("legacy_seresnext50_32x4d", pretrained=False)

    def fetched(name, pretrained, **kwargs):
        return imagenet if pretrained else create(name, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", fetched)
    network = starting_model("seresnext50", seed=0).network
    assert torch.equal(network.backbone.layer4[2].conv3.weight, imagenet.layer4[2].conv3.weight)


@pytest.mark.parametrize("name", ["mc3_112", "seresnext50"])
def test_weights_of_libraries_cannot_be_had(name, monkeypatch):
    def no_network(*args, pretrained=True, **kwargs):
        if not pretrained:
            return create(*args, pretrained=False, **kwargs)
        raise OSError("no route to host")

    create = timm.create_model
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", no_network)
    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(PretrainedWeightsError, match=r"no route to host.* or copy the file into "):
        starting_model(name, seed=0)


def test_training_goes_on_from_a_checkpoint(new_mc3, tmp_path):
    path = tmp_path / MODELS["mc3_112"].file
    save_model(path, new_mc3)
    for start in ({"folder": tmp_path}, {"init": path}):
        network = starting_model("mc3_224", seed=0, **start).network
        assert torch.equal(network.fc.weight, new_mc3.network.fc.weight)
    with pytest.raises(CheckpointError, match="holds the network mc3_18"):
        starting_model("res34", seed=0, init=path)


@pytest.mark.parametrize("name", ["mc3_112", "seresnext50"])
def test_models_learn(name):
    """A step of training reaches every parameter."""
    model = starting_model(name, seed=0, pretrained=False)
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (2, 1 if name == "seresnext50" else 4, 64, 64, 3), generator=generator)
    model(model.normalise(clips.to(torch.uint8))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
