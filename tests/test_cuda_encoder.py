"""The GPU's encoder on the CPU: its steps by PyTorch against timm, and its kernels, run by a host, against these."""

import copy

import pytest
import torch

from engines.fold import fold_batch_norms
from engines.native.cuda_encoder import CudaEncoder, KernelSteps, TorchSteps
from systems.seferbekov.models import create_encoder
from tests.cuda_on_cpu import COMPILER, HostKernels

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def encoder():
    """A B0 with batch statistics that spread its features."""
    torch.manual_seed(3)
    encoder = create_encoder("tf_efficientnet_b0_ns", pretrained=False)
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        encoder.train()(torch.randn(4, 3, 96, 96))
    return fold_batch_norms(encoder.eval())


@pytest.fixture(scope="module")
def host_steps(tmp_path_factory):
    steps = KernelSteps.__new__(KernelSteps)
    steps._launch = HostKernels("efficientnet", tmp_path_factory.mktemp("kernels")).launch
    return steps


@pytest.mark.parametrize("size", [96, 75])
def test_steps_of_torch_give_timm_s_features(encoder, size):
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = encoder.forward_features(images)
        ours = CudaEncoder(copy.deepcopy(encoder), TorchSteps(), "cpu", torch.float32).forward_features(images)
    assert ours.is_contiguous(memory_format=torch.channels_last) and ours.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("size", [64, 45])
def test_kernels_give_the_same_features(encoder, host_steps, size):
    """All kernels at once, in fp16, at even and odd sides."""
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        expected = CudaEncoder(copy.deepcopy(encoder), TorchSteps(), "cpu").forward_features(images.half()).float()
        ours = CudaEncoder(copy.deepcopy(encoder), host_steps, "cpu").forward_features(images.half()).float()
    assert (ours - expected).norm() / expected.norm() < 0.01


class Layer:
    """What `KernelSteps.depthwise` looks at."""

    def __init__(self, kernel, stride, channels, activate):
        self.kernel, self.stride = kernel, stride
        self.taps, self.bias = torch.randn(kernel**2, channels) / kernel, torch.randn(channels)
        self.in_bias = torch.randn(channels) if activate else None
        self.project = torch.zeros(1, dtype=torch.float16)  # its dtype is the result's


@needs_compiler
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride, side", [(1, 12), (1, 17), (2, 25), (2, 26)])
def test_depthwise(host_steps, kernel, stride, side, activate):
    """Tiles that the image fills and cuts, channels that fill a block and do not; unwritten outputs would be NaN."""
    torch.manual_seed(kernel * side)
    layer = Layer(kernel, stride, 72, activate)
    x = torch.randn(2, side, side, 72).half()
    y, means = host_steps.depthwise(x, layer)
    expected, expected_means = TorchSteps().depthwise(x, layer)
    torch.testing.assert_close(y, expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(means, expected_means, rtol=1e-3, atol=1e-3)


@needs_compiler
def test_finish_and_scale(host_steps):
    x, shortcut, bias, gates = torch.randn(3, 5, 5, 24).half(), torch.randn(3, 5, 5, 24).half(), torch.randn(24), None
    gates = torch.rand(3, 24).half()
    for arguments in ((bias, None, True), (bias, None, False), (bias, shortcut, False)):
        ours, expected = x.clone(), x.clone()
        host_steps.finish(ours, *arguments)
        TorchSteps().finish(expected, *arguments)
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    ours, expected = x.clone(), x.clone()
    host_steps.scale(ours, gates)
    TorchSteps().scale(expected, gates)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
