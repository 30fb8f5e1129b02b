"""The classifiers and their files: published names, roles, a literal forward pass, and the published probabilities."""

import csv

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from faces.video import iter_frames
from runtime.errors import OutputError
from systems.checkpoints import CheckpointError, read_checkpoint
from systems.ntechlab.checkpoints import (
    PUBLISHED_FILE,
    PUBLISHED_NAMES,
    export_published,
    load_classifier,
    load_weights,
    published_keys,
    published_state,
    role_by_name,
    save_classifier,
)
from systems.ntechlab.frames import InputMaker, find_tracks, keep_frames, plan_inputs
from systems.ntechlab.models import ROLES, Classifier, TemporalExpansion, create_network
from tests.ntechlab import GOLDEN, fixed_checkpoint, golden, recorded, video_path

SMALL = "tf_efficientnet_b0_ns"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def spread(network, seed=0):
    """Other weights in every layer, by which a swapped one would show; the statistics of noise spread the scores."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim:
            scale = (1.5 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1
            tensor.copy_(
                torch.randn(tensor.shape, generator=draw) * scale + (name.endswith("weight") and tensor.ndim == 1)
            )
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(14, 3, 64, 64, generator=draw))
    for norm in norms:
        norm.momentum = 0.01
    return network.eval()


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {role: spread(create_network(role, SMALL), number) for number, role in enumerate(ROLES)}


# EfficientNet-B0 (Tan and Le, ICML 2019): repeats, kernel, stride, expansion of each stage
STAGES = [(1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6)]


def literal_forward(state, x):
    """The published network, by the published names of its tensors."""

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{each}"] for each in names), eps=1e-3)

    def convolve(x, name, stride=1, groups=1):
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        padding = []
        for side in (x.shape[3], x.shape[2]):  # TensorFlow's "same"
            total = max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, padding), weight, bias, stride, groups=groups)

    def expand(x, name):
        if f"{name}.weight" in state:
            return convolve(x, name)
        clips = x.unflatten(0, (-1, 7)).transpose(1, 2)
        y = F.conv3d(clips, state[f"{name}.conv.weight"], padding=(1, 0, 0))
        return y.transpose(1, 2).flatten(0, 1)

    x = F.silu(norm(convolve(x, "_conv_stem", 2), "_bn0"))
    number = 0
    for repeats, _, stage_stride, expansion in STAGES:
        for repeat in range(repeats):
            block, before = f"_blocks.{number}.", x
            stride = stage_stride if repeat == 0 else 1
            if expansion != 1:
                x = F.silu(norm(expand(x, f"{block}_expand_conv"), f"{block}_bn0"))
            x = F.silu(norm(convolve(x, f"{block}_depthwise_conv", stride, x.shape[1]), f"{block}_bn1"))
            squeezed = F.silu(convolve(x.mean((2, 3), keepdim=True), f"{block}_se_reduce"))
            x = x * convolve(squeezed, f"{block}_se_expand").sigmoid()
            x = norm(convolve(x, f"{block}_project_conv"), f"{block}_bn2")
            x = x + before if repeat else x
            number += 1
    x = F.silu(norm(convolve(x, "_conv_head"), "_bn1")).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("role", ["large_crop", "seq"])
def test_published_names_mean_the_same_network(networks, role):
    x = torch.randn(14, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, literal = networks[role](x), literal_forward(published_state(networks[role]), x)
    assert ours.shape == (14, 1) and ours.std() > 0.01
    assert (ours - literal).abs().max() <= 1e-5 * max(1, float(literal.abs().max()))


def test_published_names():
    with torch.device("meta"):
        keys = {role: list(published_keys(create_network(role)).values()) for role in ("re", "seq")}
    for role, names in keys.items():
        assert len(names) == len(set(names)) == 1200
        temporal = [name for name in names if name.endswith("_expand_conv.conv.weight")]
        blocks = sorted(int(name.split(".")[1]) for name in temporal)
        assert blocks == (list(range(4, 55)) if role == "seq" else [])
    assert "_blocks.0._project_conv.weight" in keys["re"] and "_blocks.0._expand_conv.weight" not in keys["re"]
    assert "_blocks.54._se_expand.bias" in keys["re"] and "_fc.bias" in keys["re"]


def test_training_settings():
    with torch.device("meta"):
        network = create_network("re")
    blocks = [block for stage in network.blocks for block in stage]
    assert blocks[54].drop_path.drop_prob == pytest.approx(0.2 * 54 / 55)
    assert (network.drop_rate, network.bn1.momentum, network.bn1.eps) == (0.5, 0.01, 1e-3)


def test_a_new_sequence_model_sees_a_still_clip_as_an_image():
    torch.manual_seed(2)
    expansion = torch.nn.Conv2d(4, 6, 1, bias=False)
    temporal = TemporalExpansion(expansion)
    assert temporal.conv.weight.shape == (6, 4, 3, 1, 1)
    image = torch.randn(1, 4, 5, 3)
    with torch.no_grad():
        seen, alone = temporal(image.expand(7, -1, -1, -1)), expansion(image)[0]
    np.testing.assert_allclose(seen[1:6], alone.expand(5, -1, -1, -1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[[0, 6]], alone.expand(2, -1, -1, -1) * 2 / 3, rtol=1e-5, atol=1e-6)


def test_clips_do_not_mix(networks):
    images = np.random.default_rng(0).integers(0, 256, (2, 7, 64, 64, 3), dtype=np.uint8)
    classifier = Classifier(networks["seq"], "seq")
    both, alone = classifier.p_fake(images), classifier.p_fake(images[1:])
    assert both.shape == (2, 7) and both.dtype == np.float32
    np.testing.assert_allclose(both[1], alone[0], atol=1e-5)
    backwards = classifier.p_fake(images[:, ::-1])
    assert np.abs(backwards[:, ::-1] - both).max() > 1e-4  # their order counts


def test_images_are_normalised(networks):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    normalised = (images / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.no_grad():
        logits = networks["re"](torch.from_numpy(normalised.astype(np.float32)).permute(0, 3, 1, 2))
    expected = logits[:, 0].sigmoid()
    np.testing.assert_allclose(Classifier(networks["re"], "re").p_fake(images), expected, atol=1e-5)


def test_images_of_another_shape_are_refused(networks):
    with pytest.raises(ValueError, match=r"re takes images \(n, h, w, 3\)"):
        Classifier(networks["re"], "re").p_fake(np.zeros((1, 7, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"seq takes images \(n, 7, h, w, 3\)"):
        Classifier(networks["seq"], "seq").p_fake(np.zeros((1, 6, 64, 64, 3), np.uint8))
    assert Classifier(networks["seq"], "seq").p_fake(np.zeros((0, 7, 64, 64, 3), np.uint8)).shape == (0, 7)


def test_unknown_roles_and_encoders():
    with pytest.raises(ValueError, match="unknown role 'frame'; use one of large_crop, re, seq"):
        create_network("frame")
    with pytest.raises(ValueError, match="unknown encoder 'resnet18'"):
        create_network("re", "resnet18")


@pytest.mark.parametrize("role", ROLES)
def test_ours_come_back(networks, role, tmp_path):
    path = tmp_path / "model.pth"
    save_classifier(path, networks[role], role=role, encoder=SMALL, iteration=7)
    loaded = load_classifier(path)
    assert (loaded.role, loaded.encoder) == (role, SMALL) and not loaded.network.training
    ours, again = networks[role].state_dict(), loaded.network.state_dict()
    assert list(ours) == list(again) and all(torch.equal(ours[key], again[key]) for key in ours)
    fresh = create_network(role, SMALL)
    load_weights(path, read_checkpoint(path), fresh, role=role, encoder=SMALL)
    assert torch.equal(fresh.conv_stem.weight, networks[role].conv_stem.weight)


def test_export_is_bare_and_in_half_precision(networks, tmp_path):
    export_published(tmp_path / "published.pth", networks["seq"])
    state = torch.load(tmp_path / "published.pth")
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert state["_blocks.1._expand_conv.conv.weight"].shape[2:] == (3, 1, 1)
    with torch.no_grad():
        networks["large_crop"].classifier.bias.fill_(1e6)
        with pytest.raises(OutputError, match=r"_fc\.bias has numbers beyond half precision"):
            export_published(tmp_path / "large.pth", networks["large_crop"])
        networks["large_crop"].classifier.bias.zero_()


@pytest.mark.parametrize(
    ("name", "role"),
    [
        (f"{PUBLISHED_NAMES['large_crop']}/{PUBLISHED_FILE}", "large_crop"),
        (f"{PUBLISHED_NAMES['re']}/{PUBLISHED_FILE}", "re"),
        (f"{PUBLISHED_NAMES['seq']}/{PUBLISHED_FILE}", "seq"),
        ("efficientnet-b7_ns_aa-original-mstd0.5_re_100k/snapshot_5000.pth", "re"),
        (f"weights/{PUBLISHED_NAMES['seq']}.pth", "seq"),
        ("weights/model.pth", None),
    ],
)
def test_roles_by_name(name, role):
    assert role_by_name(name) == role


def refused(path, reason, role=None):
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_classifier(path, role)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_role_is_told(networks, tmp_path):
    save_classifier(tmp_path / "frame", networks["re"], role="re", encoder=SMALL)
    save_classifier(tmp_path / "clip", networks["seq"], role="seq", encoder=SMALL)
    refused(tmp_path / "frame", "is a frame model, and seq is the role of a sequence model", "seq")
    refused(tmp_path / "clip", "is a sequence model, and re is the role of a frame model", "re")
    refused(tmp_path / "frame", "its role 'other' is unknown", "other")
    assert load_classifier(tmp_path / "frame", "large_crop").role == "large_crop"


def test_a_frame_model_without_a_name_needs_a_role(networks, tmp_path):
    torch.save(published_state(networks["re"]), tmp_path / "bare.pth")
    refused(tmp_path / "bare.pth", "neither it nor its folder's name tells its role; name one of large_crop, re")


def test_other_files_are_told(networks, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"encoder.fc": torch.zeros(1)}, "epoch": 3}, path)
    refused(path, "is no checkpoint of NtechLab's system")
    torch.save({"_fc.bias": torch.zeros(1)}, path)
    refused(path, "is not a classifier of NtechLab's on tf_efficientnet_b7_ns: ", "re")
    torch.save({"_fc.bias": 3}, path)
    refused(path, "holds no state_dict of tensors")
    state = published_state(networks["re"])
    damaged = state | {"_bn0.bias": torch.full_like(state["_bn0.bias"], float("nan"))}
    torch.save({"system": "ntechlab", "role": "re", "encoder": SMALL, "state_dict": damaged}, path)
    refused(path, r"bn1\.bias holds numbers that are not finite")
    torch.save({"system": "ntechlab", "role": "re", "encoder": "b9", "state_dict": state}, path)
    refused(path, "its encoder 'b9' is unknown")
    torch.save({"system": "ntechlab", "role": "re", "encoder": SMALL, "state_dict": {"a": torch.zeros(1)}}, path)
    refused(path, "tensors missing, 1 unknown")
    refused(tmp_path / "nothing.pth", "no such checkpoint")


@pytest.fixture(scope="module", params=["large_crop", pytest.param("seq", marks=pytest.mark.slow)])
def golden_model(request, tmp_path_factory):
    """Two of the three fixed classifiers, a frame and the sequence model, with their roles."""
    return request.param, load_classifier(fixed_checkpoint(tmp_path_factory, request.param))


@needs_golden
def test_published_files_load_and_come_back(golden_model, tmp_path):
    role, loaded = golden_model
    assert (loaded.role, loaded.encoder) == (role, "tf_efficientnet_b7_ns")
    assert all(torch.isfinite(value).all() for value in loaded.network.state_dict().values())
    export_published(tmp_path / "model.pth", loaded.network)
    state, again = published_state(loaded.network), torch.load(tmp_path / "model.pth")
    assert len(again) == 1200 and all(torch.equal(state[key], again[key].to(state[key].dtype)) for key in state)


@needs_golden
def test_published_probabilities(golden_model):
    """A part of one video's: some faces for the frame model, of both tracks, or two sequences."""
    role, loaded = golden_model
    video = "facenet_video.mp4"
    expected = {}
    with open(GOLDEN / "faces.csv", newline="") as file:
        for row in csv.DictReader(file):
            if (row["video"], row["model"]) == (video, role):
                key = int(row["track"]), int(row["frame"]), int(row["sequence_start"])
                expected[key] = float(row["probability"])
    path = video_path(video)
    info = iter_frames(path, lambda count: []).look()
    tracks = find_tracks(recorded(golden("detections.json")[video]["detections"]))
    planned = [each for each in plan_inputs(tracks, info.width, info.height) if each.role == role]
    inputs, faces = {"large_crop": (7, 1), "seq": (2, 7)}[role]
    chosen = planned[:: -(-len(planned) // inputs)]
    maker = InputMaker(chosen, keep_frames(info.frame_count, info.rate).frames)
    frames = iter_frames(path, lambda count: maker.source_frames)
    made = [pair for index, frame in frames for pair in maker.feed(index, frame)]
    assert {each.track for each, _ in made} == {0, 1}
    probabilities = Classifier(loaded.network, role).p_fake(np.stack([images for _, images in made]))
    errors = [
        abs(probability - expected[each.track, frame, each.frames.start])
        for (each, _), ours in zip(made, probabilities.reshape(len(made), -1), strict=True)
        for frame, probability in zip(each.frames, ours, strict=True)
    ]
    assert len(errors) == inputs * faces and max(errors) <= 2e-3 and np.mean(errors) <= 2e-4
