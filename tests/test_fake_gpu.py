"""Networks on a GPU that is not there (fake_gpu.py)."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.gpu_memory import PeakMemory
from engines.device import DTYPES
from engines.fold import fold_batch_norms
from engines.gpu import Lane
from engines.native.cuda_encoder import CudaEncoder, TorchSteps
from faces import cuda_mtcnn
from faces.cuda_mtcnn import CudaNetworks
from faces.face_detector import _pyramid
from systems.medics.models import create_model
from systems.medics.strategy import with_mirrors
from systems.medics.task import MedicsTask
from systems.ntechlab import cuda_classifier
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.cuda_classifier import CudaClassifier
from systems.ntechlab.models import HEIGHT, ROLES, WIDTH, create_network
from systems.ntechlab.task import NtechlabTask
from systems.seferbekov.loss import split_loss
from systems.seferbekov.models import NETWORKS
from systems.seferbekov.task import SeferbekovTask
from systems.task import Step
from tests.fake_gpu import GPU, NoWaiting, fake_gpu


@pytest.fixture
def fake():
    with fake_gpu() as gpu:
        yield gpu


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_training_step(fake, network, dtype):
    """Forward and loss: all on that GPU, the loss in fp32, nothing read back. (A backward pass needs a GPU.)"""
    with GPU:
        model = NETWORKS[network]("tf_efficientnet_b0_ns").train()
        images, labels = torch.zeros(4, 3, 64, 64), torch.ones(4, 1)
    images = images.contiguous(memory_format=torch.channels_last)
    keep = torch.ones(4, dtype=torch.bool, device=GPU)
    with NoWaiting():
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            logits = model(images)
        loss = split_loss(logits, labels, weights={"BinaryCrossentropy": 1.0}, keep=keep, ohem_samples=2)
    assert logits.device == loss.total.device == loss.fake.device == GPU
    assert logits.dtype == dtype and loss.total.dtype == torch.float32 and loss.total.requires_grad


def step(number: int) -> Step:
    return Step(number=number, seed=1, rank=0, world_size=1, sum_over_ranks=lambda tensor: tensor)


def assert_a_loss(task, network, batch):
    """Of some steps: there, in fp32, and what was drawn for a batch goes there without waiting."""
    for number in range(4):
        with NoWaiting() as watched, torch.autocast("cuda", torch.float16):
            losses = task.losses(network, batch, step(number))
        assert losses.total.device == GPU and losses.total.dtype == torch.float32 and losses.total.requires_grad
        assert all(part.device == GPU for part in losses.parts.values())
    return watched


def test_losses_of_seferbekov(fake):
    task = SeferbekovTask.__new__(SeferbekovTask)
    task._config = SimpleNamespace(losses={"BinaryCrossentropy": 1.0}, ohem_samples=2)
    task._options = SimpleNamespace(only_changed_frames=True)
    task._mean, task._std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    with GPU:
        network = NETWORKS["DeepFakeClassifier"]("tf_efficientnet_b0_ns").train()
        batch = {"image": torch.zeros(4, 3, 64, 64, dtype=torch.uint8), "label": torch.ones(4, 1)}
        batch["valid"] = torch.ones(4, dtype=torch.bool)
    assert_a_loss(task, network, batch)


@pytest.mark.parametrize("role", ROLES)
def test_losses_of_ntechlab(fake, role):
    task = NtechlabTask.__new__(NtechlabTask)
    task._config = SimpleNamespace(role=role)
    with GPU:
        network = create_network(role, "tf_efficientnet_b0_ns").train()
        batch = {name: torch.zeros(2, 7, 3, 64, 64) for name in ("real", "fake")}
    assert assert_a_loss(task, network, batch).uploaded == [torch.float32]


@pytest.mark.parametrize("mixup, cutmix", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", ["res10", "seresnext50"])
def test_losses_of_the_medics(fake, name, mixup, cutmix):
    task = MedicsTask.__new__(MedicsTask)
    task._config = SimpleNamespace(mixup=mixup, cutmix=cutmix)
    with GPU:
        task._model = create_model(name).train()
        shape = (4, 16, 112, 112, 3) if task._model.spec.is_3d else (4, 1, 256, 256, 3)
        batch = {"clip": torch.zeros(shape, dtype=torch.uint8), "is_fake": torch.ones(4, dtype=torch.bool)}
    task._spec = task._model.spec
    watched = assert_a_loss(task, task._model, batch)
    assert bool(watched.uploaded) == (mixup or cutmix or not task._spec.is_3d)


def test_encoder_of_our_kernels(fake):
    """In fp16, channels last, whatever the device."""
    with GPU:
        module = NETWORKS["DeepFakeClassifier"]("tf_efficientnet_b0_ns").eval().requires_grad_(False)
        fold_batch_norms(module)
        encoder = CudaEncoder(module.encoder, TorchSteps(), GPU)
        images = torch.zeros(2, 3, 75, 75, dtype=torch.float16)
    with NoWaiting(), torch.no_grad():
        features = encoder.forward_features(images.contiguous(memory_format=torch.channels_last))
    assert features.device == GPU and features.dtype == torch.float16 and features.shape == (2, 1280, 3, 3)
    assert features.is_contiguous(memory_format=torch.channels_last)


class Recorded:
    """As `engines.gpu.Graph`."""

    def __init__(self, function, stream, pool):
        with torch.inference_mode():
            self.result = function()

    def replay(self):
        pass


@pytest.fixture
def detector(fake, monkeypatch):
    """The detector's networks there. `waits` notes each time that the host waits for what is computed, `launched` the
    types that our kernel is given."""
    waits, launched = [], []

    def launch(name, grid, block, *args):
        assert all(arg.device == GPU and arg.is_contiguous() for arg in args if isinstance(arg, torch.Tensor))
        launched.append([arg.dtype for arg in args if isinstance(arg, torch.Tensor)])

    def staged(shape, device, dtype=torch.uint8):
        host = np.zeros(shape, str(dtype).removeprefix("torch."))  # what is made meanwhile has no memory

        def to(where, non_blocking):
            assert where == device and non_blocking
            return torch.zeros(*shape, dtype=dtype, device=where)

        return SimpleNamespace(numpy=lambda: host, to=to)

    def nonzero(self, as_tuple):
        """As many cells as it may be."""
        assert as_tuple and self.device == GPU and self.dtype == torch.bool
        waits.append("nonzero")
        return tuple(torch.zeros(1000, dtype=torch.int64, device=GPU) for _ in range(self.ndim))

    def host_copy(tensor):
        assert tensor.device == GPU and tensor.dtype == torch.float32
        read = SimpleNamespace(numpy=lambda: np.zeros(tensor.shape))
        return SimpleNamespace(read=lambda: waits.append("read") or read)

    monkeypatch.setattr(torch.Tensor, "nonzero", nonzero)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 1.0)  # of a bound, when networks are made
    for name in ("synchronize", "current_stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(cuda_mtcnn, "staged", staged)
    monkeypatch.setattr(cuda_mtcnn, "HostCopy", host_copy)
    monkeypatch.setattr(cuda_mtcnn, "GpuThread", lambda device: lambda function, *args: function(*args))
    return SimpleNamespace(networks=CudaNetworks(GPU, launch, record=Recorded), waits=waits, launched=launched)


@pytest.mark.parametrize(
    "height, width, count, groups, megabytes",
    [(540, 960, 32, 1, 650), (1080, 1920, 32, 4, 640), (2160, 3840, 8, 4, 1100)],
)
def test_detector(detector, height, width, count, groups, megabytes):
    """All that it computes lies there; it is given by memory that the GPU reads by itself, and waited for twice a group
    of frames and once for each refining network, however many batches these are, in little memory."""
    with NoWaiting() as watched:
        images = detector.networks.load([np.zeros((height, width, 3), np.uint8)] * count)
        with PeakMemory() as memory:
            cells = detector.networks.candidates(images, _pyramid, 0.7)
        assert detector.waits == ["nonzero", "read"] * groups
        outputs = detector.networks.refine(images, np.zeros(700, np.int64), np.zeros((700, 4), np.int32), 24)
    assert not watched.uploaded and detector.waits == ["nonzero", "read"] * groups + ["read"]
    assert len(detector.launched) > 2 * groups and memory.peak < megabytes * 1e6
    assert cells.shape == (1000 * groups, 9) and [output.shape for output in outputs] == [(700,), (700, 4)]
    kinds = [torch.uint8, torch.int64, torch.int32, torch.int32, torch.float32]
    assert all(types == kinds for types in detector.launched)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["i3d", "res34", "mc3_112", "r2p1_112", "seresnext50"])
def test_networks_of_the_medics(fake, name, dtype):
    """Pictures go to the GPU once, as they are, and all else is done there."""
    clips = torch.zeros(1, 9, 256, 256, 3, dtype=torch.uint8)
    with GPU:
        model = create_model(name).eval().requires_grad_(False)
    assert model.device == GPU
    with NoWaiting() as watched, torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        clips = with_mirrors(clips.to(model.device, non_blocking=True))
        p_fake = model.p_fake(clips)
    assert p_fake.device == GPU and p_fake.dtype == torch.float32 and p_fake.shape == (2,)
    assert watched.uploaded == [torch.uint8]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("role", ROLES)
def test_networks_of_ntechlab(fake, role, dtype):
    with GPU:
        network = create_network(role, "tf_efficientnet_b0_ns").eval().requires_grad_(False)
        images = torch.zeros(14, 3, 64, 64)
    with NoWaiting() as watched, torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        logits = network(images)
    assert logits.device == GPU and logits.dtype == dtype and logits.shape == (14, 1)
    assert not watched.uploaded


@pytest.mark.parametrize("dtype, steps", [(torch.float16, TorchSteps()), *((dtype, None) for dtype in DTYPES.values())])
@pytest.mark.parametrize("role", ROLES)
def test_graphs_of_ntechlab(fake, monkeypatch, role, dtype, steps):
    """What is recorded takes pixels that lie there, and gives probabilities in fp32, without waiting."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(cuda_classifier, "working_on", lambda device, stream: contextlib.nullcontext())
    with GPU:
        network = create_network(role, "tf_efficientnet_b0_ns")
    loaded = LoadedClassifier(network=network, role=role, encoder="tf_efficientnet_b0_ns")

    def record(function, *_):
        with NoWaiting() as watched, torch.no_grad():
            result = function()
        assert not watched.uploaded
        return SimpleNamespace(result=result)

    classifier = CudaClassifier(
        loaded, device=GPU, dtype=dtype, count=2, lane=Lane(torch.device("cpu")), steps=steps, record=record
    )
    images, result = classifier._images, classifier._graph.result
    assert images.device == GPU and images.dtype == torch.uint8 and images.shape[2:] == (HEIGHT, WIDTH, 3)
    assert result.device == GPU and result.dtype == torch.float32 and result.shape == images.shape[:2]
