"""NtechLab's classifiers as on a GPU, on the CPU: graphs replaced by functions that are called again."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from engines.device import DTYPES
from engines.gpu import Lane
from engines.native.cuda_encoder import KernelSteps, TorchSteps
from runtime.errors import DeviceError
from runtime.memory import MemoryBudget
from systems.ntechlab import track_models
from systems.ntechlab.checkpoints import LoadedClassifier
from systems.ntechlab.cuda_classifier import CudaClassifier
from systems.ntechlab.models import ROLES, SEQUENCE
from systems.ntechlab.track_models import TrackModels
from systems.system import Machine
from tests.cuda_on_cpu import COMPILER, HostGraph, HostKernels
from tests.track_networks import networks_for, noise_images, scores_of

CPU = torch.device("cpu")
COUNT = 3


@pytest.fixture(scope="module")
def images():
    return noise_images(COUNT)


@pytest.fixture(scope="module")
def networks(images):
    return networks_for(images)


@pytest.fixture(scope="module")
def expected(networks, images):
    return {role: scores_of(network, role, images[role]) for role, network in networks.items()}


@pytest.fixture(scope="module")
def build(networks):
    def build(role, **kwargs):
        loaded = LoadedClassifier(network=copy.deepcopy(networks[role]), role=role, encoder="tf_efficientnet_b0_ns")
        kwargs = {"dtype": torch.float32, "count": COUNT, "lane": Lane(CPU), "record": HostGraph, **kwargs}
        return CudaClassifier(loaded, device=CPU, **kwargs)

    return build


@pytest.mark.parametrize("steps", [None, TorchSteps()])
@pytest.mark.parametrize("role", ROLES)
def test_full_and_part_batches(build, images, expected, role, steps):
    """By PyTorch's layers and by our encoder; a part batch, then a full one again."""
    classifier = build(role, steps=steps)
    assert (classifier._forward._encoder is None) == (steps is None) and np.ptp(expected[role]) > 0.01
    for part in (images[role], images[role][2:], images[role]):
        scores = classifier(part)
        assert scores.dtype == np.float32 and scores.shape == (len(part), SEQUENCE if role == "seq" else 1)
        np.testing.assert_allclose(scores, expected[role][COUNT - len(part) :], atol=2e-5)


@pytest.mark.parametrize("role", ROLES)
def test_in_bf16(build, images, expected, role):
    """Batch norms stay, and clips of several images are no exception."""
    classifier = build(role, dtype=torch.bfloat16)
    np.testing.assert_allclose(classifier(images[role]), expected[role], atol=0.1)


def test_what_is_not_used_any_more_is_gone(build):
    """At once, not when Python looks for circles: a graph that is freed while another is recorded would break it."""
    classifier = build("re")
    graph = weakref.ref(classifier._graph)
    gc.disable()
    try:
        del classifier
        assert graph() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("role", ["re", "seq"])
def test_images_of_a_clip_see_their_neighbours_alone(build, images, role):
    """Another clip of the batch moves nothing; another image of the clip does."""
    classifier = build(role, steps=TorchSteps())
    changed = images[role].copy()
    changed[1, 0] = 255 - changed[1, 0]
    before, after = classifier(images[role]), classifier(changed)
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], atol=1e-6)
    assert np.abs(after[1] - before[1]).min() > 1e-6


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_on_our_kernels(build, images, expected, tmp_path):
    """In fp16, whose rounding moves a score; the same rounding by PyTorch's steps moves it as much."""
    steps = KernelSteps.__new__(KernelSteps)
    steps._launch = HostKernels("efficientnet", tmp_path).launch
    ours, theirs = (build("re", steps=each, dtype=torch.float16, count=1) for each in (steps, TorchSteps()))
    one = images["re"][:1]
    np.testing.assert_allclose(ours(one), theirs(one), atol=5e-3)
    np.testing.assert_allclose(ours(one), expected["re"][:1], atol=0.02)


def test_two_threads_and_models_at_once(build, images, expected):
    """Each gets the scores of its own samples, though those of a model have their results in the same place."""
    lane = Lane(CPU)
    classifiers = {role: build(role, lane=lane) for role in ("re", "large_crop")}
    asked = [(role, place) for role in classifiers for place in range(COUNT)] * 4

    def score(given):
        role, place = given
        return np.abs(classifiers[role](images[role][place : place + 1]) - expected[role][place]).max()

    with ThreadPoolExecutor(2) as lanes:
        assert max(lanes.map(score, asked)) < 2e-5


def test_what_is_built_for_a_gpu(monkeypatch, networks):
    """Our kernels in fp16 alone, one lane for all models, two batches at a time."""
    made = []
    lane = Lane(CPU)
    monkeypatch.setattr(track_models, "Lane", lambda device: lane)
    monkeypatch.setattr(track_models, "forbid_tf32", lambda: None)
    monkeypatch.setattr(track_models, "KernelSteps", lambda device: "kernels")
    monkeypatch.setattr(track_models, "CudaClassifier", lambda loaded, **kwargs: made.append(kwargs))
    loaded = [LoadedClassifier(network=network, role=role, encoder="b0") for role, network in networks.items()]
    for engine, precision, steps in (
        ("native", "fp16", "kernels"),
        ("native", "fp32", None),
        ("native", "bf16", None),
        ("torch", "fp16", None),
    ):
        machine = Machine(
            device=torch.device("cuda", 0),
            precision=precision,
            engine=engine,
            workers=1,
            lanes=1,
            memory=MemoryBudget(2**30),
        )
        models = TrackModels(loaded, machine)
        assert (models.lanes, models.group, models.batch_size) == (2, 1, 32)
        wanted = {"dtype": DTYPES[precision], "count": 32, "steps": steps, "lane": lane, "device": machine.device}
        assert made == [wanted] * 3
        made.clear()


def test_no_memory_for_a_graph(build, images, expected):
    def record(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    classifier = build("seq", record=record)
    assert classifier._graph is None and classifier._images is None
    np.testing.assert_allclose(classifier(images["seq"]), expected["seq"], atol=2e-5)


def test_a_lane_whose_memory_did_not_suffice(build, networks, images, expected, monkeypatch):
    """What a failed recording took stays as long as the others' graphs: there are none then, nor are more recorded."""
    lane, recorded = Lane(CPU), []

    def record(function, *rest):
        recorded.append(function)
        if len(recorded) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return HostGraph(function, *rest)

    def ready(self, loaded, machine, count):
        return build(loaded.role, lane=lane, count=count, record=record)

    monkeypatch.setattr(track_models, "Lane", lambda device: lane)
    monkeypatch.setattr(track_models.TrackModels, "_ready", ready)
    loaded = [LoadedClassifier(network=network, role=role, encoder="b0") for role, network in networks.items()]
    machine = Machine(
        device=CPU, precision="fp32", engine="torch", workers=1, lanes=1, memory=MemoryBudget(2**30), batch_size=COUNT
    )
    models = TrackModels(loaded, machine)
    assert len(recorded) == 2 and all(classifier._graph is None for classifier in models._probabilities)
    for kind, role in enumerate(("large_crop", "re")):
        np.testing.assert_allclose(models.score(kind, list(images[role])), expected[role], atol=2e-5)


def test_memory_runs_out(build, images, expected, monkeypatch):
    """The graph is given up, and batches halved until they fit; one sample that does not ends in a line."""
    classifier, counts = build("re"), []
    forward = classifier._forward

    def short_of_memory(most, given):
        counts.append(len(given))
        if len(given) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(given)

    def replay():
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(classifier._graph, "replay", replay)
    monkeypatch.setattr(classifier, "_forward", partial(short_of_memory, 1))
    np.testing.assert_allclose(classifier(images["re"]), expected["re"], atol=2e-5)
    assert counts == [1, 2, 1, 1] and classifier._graph is None
    monkeypatch.setattr(classifier, "_forward", partial(short_of_memory, 0))
    with pytest.raises(DeviceError, match="too little free memory: give a smaller --batch-size"):
        classifier(images["re"])


def test_a_gpu_that_fails(build, images, monkeypatch):
    def fail():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore lines")

    classifier = build("re")
    monkeypatch.setattr(classifier._graph, "replay", fail)
    with pytest.raises(DeviceError, match=r"the GPU failed .*illegal memory access was encountered.: what is finished"):
        classifier(images["re"])
