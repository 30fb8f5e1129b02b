"""Engines and precisions against PyTorch in fp32."""

import numpy as np
import pytest
import torch

from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import Ensemble, Model, build_ensemble, default_batch_size
from tests import media
from tests.engines import ENGINES

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces():
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (5, media.SIZE, media.SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(faces, weights_dir):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    x = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode():
        columns = [load_model(weights_dir / name).module(x)[:, 0].sigmoid() for name in ("first", "second")]
    expected = torch.stack(columns, dim=1).numpy()
    assert expected.std() > 0.1  # the case tells scores apart
    return expected


def build(weights_dir, **kwargs):
    modules = [(name, load_model(weights_dir / name).module, media.SIZE) for name in ("first", "second")]
    return build_ensemble(modules, device=CPU, **kwargs)


@pytest.mark.parametrize("engine", ENGINES)
def test_scores(faces, expected, weights_dir, engine):
    scores = build(weights_dir, engine=engine, precision="fp32", batch_size=5).score({media.SIZE: faces})
    assert scores.shape == (5, 2) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_reduced_precision(faces, expected, weights_dir, engine):
    """Near, on a network of random weights that is steeper than a trained one; and not fp32 under another name."""
    scores = build(weights_dir, engine=engine, precision="bf16", batch_size=5).score({media.SIZE: faces})
    assert np.abs(scores - expected).mean() < 0.05
    assert engine == "openvino" or np.abs(scores - expected).max() > 1e-4  # where OpenVINO has no bf16 it uses fp32


def test_models_of_several_sizes():
    small = Model(name="small", size=8, logits=lambda images: images.reshape(len(images), -1).max(axis=1) / 10)
    large = Model(name="large", size=16, logits=lambda images: images.reshape(len(images), -1).max(axis=1) / -10)
    ensemble = Ensemble([small, large], batch_size=4, lanes=1)
    assert ensemble.sizes == (8, 16)
    images = {8: [np.full((8, 8, 3), 10, np.uint8)], 16: [np.full((16, 16, 3), 20, np.uint8)]}
    np.testing.assert_allclose(ensemble.score(images), [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))]], rtol=1e-6)


def test_extreme_logits_do_not_overflow(recwarn):
    model = Model(name="sure", size=8, logits=lambda images: np.array([-500.0, 500.0], np.float32))
    scores = Ensemble([model], batch_size=2, lanes=1).score({8: np.zeros((2, 8, 8, 3), np.uint8)})
    assert scores[:, 0].tolist() == [0, 1] and not recwarn


def test_no_models():
    with pytest.raises(ValueError, match="at least one model"):
        Ensemble([], batch_size=1, lanes=1)


def test_default_batches():
    assert default_batch_size(CPU) == 2 and default_batch_size(torch.device("cuda")) == 64
