"""EfficientNet on our own kernels against PyTorch."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from engines.fold import fold_batch_norms
from engines.native.encoder import NativeEncoder
from systems.seferbekov.models import NETWORKS, create_encoder
from tests.engines import needs_native

pytestmark = needs_native


@pytest.fixture(scope="module")
def encoder():
    return folded(create_encoder("tf_efficientnet_b0_ns", pretrained=False))


def folded(module: nn.Module) -> nn.Module:
    """With batch norms that do something, folded."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.weight.data.uniform_(0.7, 1.3)
            norm.bias.data.normal_(0, 0.3)
    return fold_batch_norms(module.eval().requires_grad_(False))


def images(count, size):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [32, 33, 75, 128, 201])  # strips of one piece and of several, odd sides
@pytest.mark.parametrize("count", [1, 3])
def test_fp32(encoder, size, count):
    x = images(count, size)
    features = NativeEncoder(encoder, size=size, precision="fp32").forward_features(x)
    with torch.inference_mode():
        expected = encoder.forward_features(x)
    assert features.shape == expected.shape and features.dtype == torch.float32
    np.testing.assert_allclose(features, expected, atol=1e-5 * float(expected.abs().max()))


def test_bf16(encoder):
    x = images(2, 128)
    features = NativeEncoder(encoder, size=128, precision="bf16").forward_features(x)
    with torch.inference_mode():
        expected = encoder.forward_features(x)
    error = (features - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.02  # and it is not fp32 under another name


@pytest.mark.parametrize("name", ["tf_efficientnet_b3_ns", "tf_efficientnet_b5_ns"])  # channels no multiple of 32
def test_other_encoders(name):
    encoder = folded(create_encoder(name, pretrained=False))
    x = images(1, 64)
    with torch.inference_mode():
        expected = encoder.forward_features(x)
    features = NativeEncoder(encoder, size=64, precision="fp32").forward_features(x)
    assert float((features - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network(network):
    module = folded(NETWORKS[network]("tf_efficientnet_b0_ns"))
    x = images(2, 64)
    with torch.inference_mode():
        expected = module(x)
        module.encoder = NativeEncoder(module.encoder, size=64, precision="fp32")
        np.testing.assert_allclose(module(x), expected, atol=1e-4)


def test_extreme_activations(encoder):
    """Where SiLU's exponential leaves the range of floats, and where all is bias."""
    network = NativeEncoder(encoder, size=64, precision="fp32")
    for x in (images(1, 64) * 100, torch.zeros(1, 3, 64, 64)):
        with torch.inference_mode():
            expected = encoder.forward_features(x)
        features = network.forward_features(x)
        assert float((features - expected).abs().max() / expected.abs().max()) < 1e-3
    assert network.forward_features(images(1, 64) * 1e5).isfinite().all()


def test_many_threads_at_once_and_batches_of_several_sizes(encoder):
    network = NativeEncoder(encoder, size=64, precision="bf16")
    x = images(5, 64)
    expected = torch.cat([network.forward_features(x[i : i + 1]) for i in range(5)])
    results = {}

    def work(number):
        for count in (1, 2, 5, 3):
            results[number, count] = network.forward_features(x[:count])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 16
    assert all(torch.equal(features, expected[:count]) for (_, count), features in results.items())


def test_images_of_another_size(encoder):
    network = NativeEncoder(encoder, size=64, precision="fp32")
    with pytest.raises(ValueError, match="images of 64 pixels are expected"):
        network.forward_features(images(1, 65))
