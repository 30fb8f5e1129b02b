"""The GPU's ensemble on the CPU, its graphs replaced by functions that are called again."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.fold import fold_batch_norms
from engines.gpu import staged
from engines.native.cuda_encoder import CudaEncoder, TorchSteps
from runtime.errors import DeviceError
from systems.seferbekov import cuda_ensemble
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.cuda_ensemble import CudaEnsemble
from systems.seferbekov.ensemble import Model, build_ensemble, torch_logits
from tests import media
from tests.cuda_on_cpu import HostGraph

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def modules(weights_dir):
    return [load_model(weights_dir / name).module for name in ("first", "second")]


@pytest.fixture(scope="module")
def faces():
    draw = np.random.default_rng(0)
    return {size: draw.integers(0, 256, (5, size, size, 3), dtype=np.uint8) for size in (media.SIZE, 96)}


@pytest.fixture(scope="module")
def expected(modules, faces):
    """The second model sees larger images."""
    plain = zip(copy.deepcopy(modules), faces, strict=True)
    ensemble = build_ensemble(
        [(str(size), module, size) for module, size in plain],
        device=CPU,
        precision="fp32",
        engine="torch",
        batch_size=5,
    )
    return ensemble.score(faces)


def build(modules, **kwargs):
    placed = []
    for module in copy.deepcopy(modules):
        fold_batch_norms(module.eval())
        module.encoder = CudaEncoder(module.encoder, TorchSteps(), CPU, torch.float32)
        placed.append(module)
    models = [
        Model(name=str(size), size=size, logits=torch_logits(module, CPU, torch.float32))
        for module, size in zip(placed, (media.SIZE, 96), strict=True)
    ]
    kwargs = {"device": CPU, "dtype": torch.float32, "batch_size": 8, "record": HostGraph, **kwargs}
    return CudaEnsemble(models, placed, **kwargs)


def test_full_and_part_batches(modules, faces, expected):
    """In turns, and a batch without the places that it leaves empty."""
    ensemble = build(modules)
    assert len(ensemble._graphs) == 2 and ensemble.group == 1 and ensemble.lanes == 2
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)
    part = {size: list(images[3:]) for size, images in faces.items()}
    np.testing.assert_allclose(ensemble.score(part), expected[3:], atol=1e-4)
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)


def test_two_batches_at_once(modules, faces, expected):
    """Each thread gets the scores of its own faces: they are copied before the next batch is begun."""
    ensemble = build(modules)
    parts = [({size: images[place : place + 1] for size, images in faces.items()}, place) for place in range(5)]

    def score(given):
        images, place = given
        return np.abs(ensemble.score(images) - expected[place]).max()

    with ThreadPoolExecutor(ensemble.lanes) as lanes:
        assert max(lanes.map(score, parts * 6)) < 1e-4


def test_graphs_that_another_thread_gave_up(modules, faces, expected, monkeypatch):
    """While this one had made its batch ready."""
    ensemble = build(modules)

    def give_up(shape, device):
        ensemble._give_up_graphs()
        return staged(shape, device)

    monkeypatch.setattr(cuda_ensemble, "staged", give_up)
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)


def test_what_is_not_used_any_more_is_gone(modules):
    """At once, not when Python looks for circles: a graph that is freed while another is recorded would break it."""
    ensemble = build(modules)
    graph = weakref.ref(ensemble._graphs[0])
    gc.disable()
    try:
        del ensemble
        assert graph() is None
    finally:
        gc.enable()


def test_no_memory_for_graphs(modules, faces, expected):
    def record(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ensemble = build(modules, record=record)
    assert not ensemble._graphs and not ensemble._inputs
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)


def test_memory_runs_out(modules, faces, expected, monkeypatch):
    """Graphs are given up, and batches halved until they fit; one face that does not ends in a line."""
    ensemble, counts, alone = build(modules), [], CudaEnsemble._logits

    def replay(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def short_of_memory(images, count):
        counts.append(count)
        if count > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return alone(ensemble, images, count)

    monkeypatch.setattr(ensemble, "_replay", replay)
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)
    assert not ensemble._graphs
    monkeypatch.setattr(ensemble, "_logits", short_of_memory)
    most = 2
    np.testing.assert_allclose(ensemble.score(faces), expected, atol=1e-4)
    assert counts == [5, 2, 3, 1, 2]
    most = 0
    with pytest.raises(DeviceError, match="too little free memory: give a smaller --batch-size or fewer --workers"):
        ensemble.score(faces)


def test_a_gpu_that_fails(modules, faces, monkeypatch):
    def fail(*_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore lines")

    ensemble = build(modules)
    monkeypatch.setattr(ensemble, "_replay", fail)
    with pytest.raises(DeviceError, match=r"the GPU failed .*illegal memory access was encountered.: what is finished"):
        ensemble.score(faces)


def test_images_are_uploaded_once_for_all_models(modules, faces, monkeypatch):
    ensemble, sizes = build(modules), []
    monkeypatch.setattr(cuda_ensemble, "staged", lambda shape, device: sizes.append(shape[1]) or staged(shape, device))
    ensemble.score(faces)
    assert sizes == [media.SIZE, 96]
    same = CudaEnsemble(
        [replace(model, size=media.SIZE) for model in ensemble.models] * 3,
        copy.deepcopy(modules) * 3,
        device=CPU,
        dtype=torch.float32,
        batch_size=8,
        record=HostGraph,
    )
    sizes.clear()
    assert same.score({media.SIZE: faces[media.SIZE]}).shape == (5, 6) and sizes == [media.SIZE]
