"""What only a GPU can show; skipped where there is none."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch import nn

from engines.fold import fold_batch_norms
from engines.native import cuda_kernels
from engines.native.cuda_encoder import CudaEncoder, KernelSteps, TorchSteps
from faces.face_detector import FacenetDetector
from runtime.errors import DeviceError
from runtime.memory import MemoryBudget
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.track_models import TrackModels
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.cuda_ensemble import CudaEnsemble
from systems.seferbekov.ensemble import build_ensemble
from systems.seferbekov.models import create_encoder
from systems.system import Machine
from tests import media, track_networks
from tests import test_train_classifier as trainer
from tests.test_cuda_encoder import Layer
from tests.test_sync_batchnorm import NORMS, assert_same, layer
from training.pipelines import train_classifier
from training.sync_batchnorm import convert_sync_batchnorm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = torch.device("cuda", 0)


def relative_error(ours, reference) -> float:
    ours, reference = ours.double().cpu(), reference.double().cpu()
    return float((ours - reference).norm() / reference.norm())


def test_kernels_can_be_had():
    assert cuda_kernels.why_not(GPU) is None


@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(
    "stride, side, channels", [(1, 12, 3840), (1, 48, 480), (1, 190, 32), (2, 95, 288), (2, 24, 72)]
)
def test_depthwise(kernel, stride, side, channels, activate):
    layer = Layer(kernel, stride, channels, activate)
    for name in ("taps", "bias", "in_bias"):
        tensor = getattr(layer, name)
        setattr(layer, name, tensor if tensor is None else tensor.to(GPU))
    x = torch.randn(3, side, side, channels, device=GPU).half()
    y, means = KernelSteps(GPU).depthwise(x, layer)
    torch.backends.cudnn.allow_tf32 = False
    expected, expected_means = TorchSteps().depthwise(x, layer)
    assert relative_error(y, expected) < 1e-3 and relative_error(means, expected_means) < 1e-3


def test_encoder_is_as_exact_as_pytorch_s_fp16():
    torch.manual_seed(1)
    encoder = create_encoder("tf_efficientnet_b3_ns", pretrained=False)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        encoder.train()(torch.randn(4, 3, 190, 190))
    encoder = fold_batch_norms(encoder.eval()).to(GPU)
    images = torch.randn(8, 3, 190, 190, device=GPU).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        reference = copy.deepcopy(encoder).double().forward_features(images.double())
        plain = copy.deepcopy(encoder).half().forward_features(images.half())
        ours = CudaEncoder(copy.deepcopy(encoder), KernelSteps(GPU), GPU).forward_features(images.half())
    assert relative_error(ours, reference) < 1.2 * relative_error(plain, reference) + 1e-4


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_detector_finds_the_same_faces(engine):
    frames = [*media.face_frames(3, 640, 480, 260), *media.noise_frames(1, 640, 480)]
    expected = FacenetDetector(engine="torch").detect(frames)
    for faces, others in zip(FacenetDetector(device=GPU, engine=engine).detect(frames), expected, strict=True):
        assert len(faces.bboxes) == len(others.bboxes)
        np.testing.assert_allclose(faces.bboxes, others.bboxes, atol=0.02)
        np.testing.assert_allclose(faces.landmarks, others.landmarks, atol=0.02)


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (7, media.SIZE, media.SIZE, 3), dtype=np.uint8)


def build(weights_dir, device, precision, **kwargs):
    modules = [(name, load_model(weights_dir / name).module, media.SIZE) for name in ("first", "second")]
    return build_ensemble(modules, device=device, precision=precision, **kwargs)


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("precision, bound", [("fp16", 0.02), ("fp32", 1e-3), ("bf16", 0.15)])
def test_ensemble(weights_dir, faces, engine, precision, bound):
    """Full and part batches, near the CPU's scores; the same twice, and without graphs."""
    expected = build(weights_dir, torch.device("cpu"), "fp32", engine="torch", batch_size=7).score({media.SIZE: faces})
    ensemble = build(weights_dir, GPU, precision, engine=engine, batch_size=8)
    assert isinstance(ensemble, CudaEnsemble) and len(ensemble._graphs) == 2
    scores = ensemble.score({media.SIZE: faces})
    assert np.abs(scores - expected).max() < bound
    assert (ensemble.score({media.SIZE: faces}) == scores).all()
    np.testing.assert_allclose(ensemble.score({media.SIZE: faces[:2]}), scores[:2], atol=bound / 10)
    ensemble._give_up_graphs()
    np.testing.assert_allclose(ensemble.score({media.SIZE: faces}), scores, atol=bound / 2)


def test_ensemble_short_of_memory(weights_dir, faces, monkeypatch):
    ensemble = build(weights_dir, GPU, "fp16", batch_size=8)
    scores = ensemble.score({media.SIZE: faces})

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ensemble, "_replay", fail)
    np.testing.assert_allclose(ensemble.score({media.SIZE: faces}), scores, atol=0.01)
    assert not ensemble._graphs
    monkeypatch.setattr(ensemble, "_logits", fail)
    with pytest.raises(DeviceError, match="too little free memory: give a smaller --batch-size"):
        ensemble.score({media.SIZE: faces})


def test_a_folder_of_videos(weights_dir, tmp_path):
    """The same faces, and scores near the CPU's, though a face whose box moves by a pixel may score otherwise: weights
    are random."""
    import predict_folder

    (tmp_path / "in").mkdir()
    media.write_video(tmp_path / "in" / "one.mp4", media.face_frames(20))
    found = []
    for device in ("cpu", "cuda"):
        output, faces = tmp_path / f"{device}.csv", tmp_path / f"{device}_faces.csv"
        command = ["--weights-dir", weights_dir, "--models", "first", "--test-dir", tmp_path / "in", "--output", output]
        command += ["--faces-csv", faces, "--device", device]
        assert predict_folder.main([*map(str, command)]) == 0
        found.append(pd.read_csv(faces))
    ours, expected = found[1], found[0]
    assert len(ours) == len(expected) == 20 and ours.frame.tolist() == expected.frame.tolist()
    assert (ours[["x1", "y1", "x2", "y2"]] - expected[["x1", "y1", "x2", "y2"]]).abs().to_numpy().max() <= 1
    assert (ours["first"] - expected["first"]).abs().median() < 0.02


def test_detector_is_right_after_models_were_loaded(weights_dir):
    """They take the memory that is free: what the detector's graphs read must not lie there."""
    frames = media.face_frames(3, 640, 480, 260)
    expected = FacenetDetector(engine="torch").detect(frames)
    detector = FacenetDetector(device=GPU, engine="native")
    ensemble = build(weights_dir, GPU, "fp16", batch_size=8)
    for faces, others in zip(detector.detect(frames), expected, strict=True):
        np.testing.assert_allclose(faces.bboxes, others.bboxes, atol=0.02)
    assert ensemble.sizes


@pytest.fixture(scope="module")
def track_images():
    return track_networks.noise_images(3)


@pytest.fixture(scope="module")
def networks_of_roles(track_images):
    return track_networks.networks_for(track_images)


@pytest.mark.parametrize(
    "precision, engine, bound",
    [("fp16", "native", 0.02), ("fp16", "torch", 0.02), ("bf16", "torch", 0.1), ("fp32", "torch", 1e-3)],
)
def test_ntechlab_s_classifiers(track_images, networks_of_roles, precision, engine, bound):
    """Full and part batches, near the CPU's scores; the graphs share their memory, and don't mix their results up."""
    machine = Machine(
        device=GPU,
        precision=precision,
        engine=engine,
        workers=1,
        lanes=1,
        memory=MemoryBudget(2**30),
        batch_size=3,
    )
    loaded = [
        LoadedClassifier(network=copy.deepcopy(network), role=role, encoder="tf_efficientnet_b0_ns")
        for role, network in networks_of_roles.items()
    ]
    models = TrackModels(loaded, machine)
    assert all(classifier._graph for classifier in models._probabilities)
    for first in (0, 2, 0):
        for kind, (role, images) in enumerate(track_images.items()):
            expected = track_networks.scores_of(networks_of_roles[role], role, images[first:])
            np.testing.assert_allclose(np.stack(models.score(kind, list(images[first:]))), expected, atol=bound)


def train(root, folder, *more):
    return train_classifier.main(trainer.flags(root, folder, "--device", "cuda", *more))


def test_training(processed_root, tmp_path, capsys):
    """In fp16, where the gradient scaler's first steps overflow, weights stay sane; a CPU goes on with what a GPU left,
    and a GPU with what a CPU left."""
    trainer.write_config(tmp_path, fp16=True)
    assert train(processed_root, tmp_path) == 0
    weights = trainer.weights(tmp_path).values()
    assert max(float(tensor.abs().max()) for tensor in weights if tensor.is_floating_point()) < 100
    assert trainer.run(processed_root, tmp_path, "--resume", "auto") == 0
    cpu = tmp_path / "cpu"
    cpu.mkdir()
    trainer.write_config(cpu, fp16=True)
    assert trainer.run(processed_root, cpu) == 0
    assert train(processed_root, cpu, "--resume", "auto") == 0
    assert capsys.readouterr().out.count("all 2 epochs are done") == 2


def test_training_in_fp32_is_that_of_a_cpu(processed_root, tmp_path):
    on = {}
    for name, run in (("cpu", trainer.run), ("gpu", train)):
        (tmp_path / name).mkdir()
        trainer.write_config(tmp_path / name, epochs=1)
        assert run(processed_root, tmp_path / name, "--opt-level", "O0") == 0
        on[name] = trainer.weights(tmp_path / name)
    key = "module.encoder.conv_head.weight"
    assert relative_error(on["gpu"][key], on["cpu"][key]) < 1e-3


@pytest.fixture
def alone():
    dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1, device_id=GPU)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind, shape", NORMS)
def test_batch_norm_of_one_process_is_the_plain_one(alone, kind, shape, last):
    plain, synced = (layer(kind, shape).to(GPU) for _ in range(2))
    batch = 5 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(GPU)
    if last:
        batch = batch.contiguous(memory_format=torch.channels_last if batch.ndim == 4 else torch.channels_last_3d)
    inputs = [batch.clone().requires_grad_() for _ in range(2)]
    for model, x in zip((plain, convert_sync_batchnorm(synced)), inputs, strict=True):
        (model(x) ** 3).sum().backward()
    assert_same(plain, synced, *(x.grad for x in inputs))
