"""Convolutions by Winograd's products: what PyTorch computes, in every shape, and networks put on them."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engines.native.winograd import Memory, WinogradConv, fits, on_winograd
from tests.engines import needs_avx512


def first_layer(outputs, taps, *, step=1, padding=3):
    return nn.Conv3d(3, outputs, (taps, 7, 7), (step, 2, 2), (taps // 2, padding, padding))


# each with a size that leaves tiles, registers and panels half full, and one that fills them
KERNELS = {
    "3x3": (nn.Conv2d(16, 16, 3, padding=1), (3, 16, 8, 12)),
    "3x3, odd": (nn.Conv2d(21, 50, 3, padding=1), (2, 21, 9, 7)),
    "3x3, a pixel": (nn.Conv2d(16, 3, 3, padding=1), (1, 16, 1, 1)),
    "dilated": (nn.Conv2d(32, 33, 3, padding=2, dilation=2), (2, 32, 10, 13)),
    "dilated by more than the picture": (nn.Conv2d(16, 16, 3, padding=5, dilation=5), (1, 16, 3, 4)),
    "1x3x3": (nn.Conv3d(20, 45, (1, 3, 3), padding=(0, 1, 1), bias=False), (2, 20, 5, 6, 9)),
    "3x3x3": (nn.Conv3d(16, 100, 3, padding=1), (2, 16, 7, 11, 10)),
    "3x3x3, a frame": (nn.Conv3d(17, 31, 3, padding=1), (1, 17, 1, 5, 5)),
    "3x3x3, many frames": (nn.Conv3d(16, 16, 3, padding=1), (1, 16, 40, 4, 4)),
    "3x1x1": (nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0)), (2, 45, 10, 5, 7)),
    "3x1x1, two frames": (nn.Conv3d(16, 20, (3, 1, 1), padding=(1, 0, 0)), (1, 16, 2, 3, 3)),
    "7x7": (first_layer(45, 1), (2, 3, 3, 20, 23)),
    "3x7x7": (first_layer(64, 3), (1, 3, 6, 31, 16)),
    "7x7x7": (first_layer(16, 7), (1, 3, 9, 12, 12)),
    "7x7x7, every other frame": (first_layer(20, 7, step=2), (1, 3, 11, 18, 14)),
    "7x7x7, no padding": (nn.Conv3d(3, 32, 7, 2), (1, 3, 12, 29, 27)),
    "7x7, padding of 1": (first_layer(16, 1, padding=1), (1, 3, 2, 13, 12)),
    "7x7, padding of 2": (first_layer(16, 1, padding=2), (1, 3, 2, 12, 15)),
    "7x7 of pictures": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), (5, 3, 25, 32)),
}


def filled(module, seed=0):
    """With weights and statistics that leave what they compute about as large as it was."""
    torch.manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(each.weight, nonlinearity="linear")
            if each.bias is not None:
                nn.init.normal_(each.bias)
        elif isinstance(each, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor in (each.weight, each.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (each.bias, each.running_mean):
                nn.init.normal_(tensor)
    return module.eval().requires_grad_(False)


def assert_close(found, expected):
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).abs().max() <= 3e-5 * max(1, float(expected.abs().max()))


@needs_avx512
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_what_pytorch_computes(name, threads):
    conv, shape = KERNELS[name]
    conv = filled(conv)
    assert fits(conv)
    x = torch.randn(shape)
    expected = conv.double()(x.double()).float()
    conv.float()
    assert_close(WinogradConv(conv, threads=threads)(x), expected)
    added = torch.randn_like(expected)
    with_more = WinogradConv(conv, relu=True, threads=threads)
    assert_close(with_more(x, added), (expected + added).relu())
    assert_close(with_more(x), expected.relu())


@needs_avx512
def test_every_layout_and_number():
    """Slices, other layouts and one number that is added to all; NaN and infinity stay in their tile."""
    conv = filled(nn.Conv2d(16, 16, 3, padding=1))
    layer = WinogradConv(conv, relu=True, threads=1)
    x = torch.randn(2, 40, 9, 9)[:, 3:19]
    for each in (x, x.contiguous(), x.contiguous(memory_format=torch.channels_last), x.flip(3)):
        assert_close(layer(each), conv(each).relu())
    assert_close(layer(x, torch.ones(1, 16, 1, 1)), (conv(x) + 1).relu())
    x = x.clone()
    x[0, 0, 0, 0] = float("nan")
    found = layer(x)
    assert found[0, :, 0, 0].isnan().all() and not found[0, :, 5:, 5:].isnan().any() and not found[1].isnan().any()


@needs_avx512
def test_what_it_is_not_for():
    layer = WinogradConv(filled(nn.Conv2d(16, 16, 3, padding=1)), threads=1)
    with pytest.raises(TypeError, match=r"torch.bfloat16 on cpu: the kernels are for float32 on the CPU"):
        layer(torch.zeros(1, 16, 4, 4, dtype=torch.bfloat16))
    for shape in ((1, 17, 4, 4), (1, 15, 4, 4), (1, 16, 2, 4, 4)):
        with pytest.raises(ValueError, match=r"16 channels and 2 dimensions are expected"):
            layer(torch.zeros(shape))
    with pytest.raises(ValueError, match="threads 0: give 1 or more"):
        WinogradConv(nn.Conv2d(16, 16, 3, padding=1), threads=0)
    ones = torch.ones(1, 16, 4, 4)
    for kind in (torch.float64, torch.bfloat16, torch.int64):
        assert_close(layer(ones, ones.to(kind)), layer(ones) + 1)
    with pytest.raises(ValueError, match=r"\(1, 3, 2, 5, 5\): smaller than the kernel \(1, 7, 7\)"):
        WinogradConv(filled(first_layer(16, 1, padding=0)), threads=1)(torch.zeros(1, 3, 2, 5, 5))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 16, 3),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.Conv2d(16, 16, 3, padding="same"),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(15, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, padding=(1, 2), dilation=(1, 2)),
        nn.Conv3d(16, 16, 3, padding=(2, 1, 1), dilation=(2, 1, 1)),
        nn.Conv3d(16, 16, (3, 1, 1), padding=1),
        nn.Conv3d(16, 16, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
        nn.Conv3d(4, 16, (1, 7, 7), (1, 2, 2), (0, 3, 3)),
        nn.Conv3d(3, 16, (1, 7, 7), (1, 2, 2), (0, 4, 4)),
        nn.Conv3d(3, 16, (1, 7, 7), (1, 2, 2), (0, 3, 2)),
        nn.Conv2d(16, 16, 7, 2, 3),
        nn.Conv3d(512, 512, 3, padding=1, device="meta"),
        nn.Linear(16, 16),
    ],
    ids=str,
)
def test_what_does_not_fit(conv):
    assert not fits(conv)


class Block(nn.Module):
    """What the networks do around a convolution, and what may not be taken for it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        self.conv1, self.bn1 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.wider, self.bn3 = nn.Conv2d(32, 48, 1, stride=2, bias=False), nn.BatchNorm2d(48)
        self.strided = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.head = nn.Conv2d(48, 16, 3, padding=1)
        self.alone = nn.BatchNorm2d(16)

    def forward(self, x):
        x = self.first(x)
        y = self.bn1(self.conv1(x)).relu()
        y = F.relu(x + self.bn2(self.conv2(y)), inplace=True)
        z = self.strided(y)
        z += self.bn3(self.wider(y))
        shared = self.head(F.relu(z))  # used twice: neither may be taken into it
        return self.alone(shared.relu() - shared), torch.cat([z, shared], 1)


@needs_avx512
def test_a_network():
    network = filled(Block())
    x = torch.randn(2, 3, 21, 26)
    expected = network(x)
    ours = on_winograd(network, threads=2)
    kinds = [type(module).__name__ for module in ours.modules()]
    assert kinds.count("WinogradConv") == 4 and kinds.count("Conv2d") == 2 and kinds.count("BatchNorm2d") == 1
    before = torch.get_num_threads()
    for found, wanted in zip(ours(x), expected, strict=True):
        assert_close(found, wanted)
    assert torch.get_num_threads() == before


class InPlace(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.conv, self.other, self.relu = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1), nn.ReLU(inplace=True)
        self.compute = compute

    def forward(self, x):
        return self.compute(self, x * 1)


def dropped(net, x):
    y = net.conv(x)
    F.relu_(y)
    return y


def summed(net, x):
    y = net.other(x)
    y += net.conv(x)
    return y * 2


def of_a_view(net, x):
    y = net.conv(x)
    y.view(-1).mul_(2)
    return y


@needs_avx512
@pytest.mark.parametrize(
    "compute, is_clear",
    [
        (lambda net, x: net.other(x) + net.conv(net.relu(x)), False),
        (lambda net, x: net.conv(x) + F.relu_(x), False),
        (lambda net, x: net.conv(x) + F.relu(x, True), False),
        (dropped, False),
        (of_a_view, False),
        (summed, True),
        (lambda net, x: net.conv(net.relu(x)), True),
        (lambda net, x: net.relu(net.conv(x)).mul_(3) + x, True),
    ],
)
def test_what_is_changed_in_place(compute, is_clear):
    """A network is refused whose parts could not be put together without another result."""
    network = filled(InPlace(compute))
    x = torch.randn(2, 16, 9, 9)
    expected = network(x)
    if is_clear:
        assert_close(on_winograd(network, threads=1)(x), expected)
    else:
        with pytest.raises(ValueError, match="changes in place what is used elsewhere too"):
            on_winograd(network, threads=1)


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)


@needs_avx512
def test_a_convolution_of_another_kind():
    network = filled(nn.Sequential(Standardised(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()))
    x = torch.randn(1, 16, 6, 6)
    assert not fits(network[0])
    expected = network(x)
    assert_close(on_winograd(network, threads=1)(x), expected)


@needs_avx512
def test_threads_at_once():
    network = filled(Block())
    pictures = [torch.randn(1, 3, 30 + 4 * number, 40) for number in range(6)]
    expected = [network(x)[1] for x in pictures]
    ours, found = on_winograd(network, threads=2), [None] * 6

    def compute(number):
        for _ in range(5):
            found[number] = ours(pictures[number])[1]

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(found, expected, strict=True):
        assert_close(result, wanted)


def test_memory_serves_again_when_nothing_is_left_in_it():
    memory = Memory()
    first = memory.empty([10, 10])
    view, where = first[3:], first.data_ptr()
    del first
    second = memory.empty([100])
    assert second.data_ptr() != where  # a view is left
    del view
    third = memory.empty([9, 9])
    assert third.data_ptr() == where and third.shape == (9, 9)
    del third
    assert memory.empty([20]).data_ptr() != where  # a fifth of it would be a waste
    memory.clear()
    assert not memory._free
    kept = memory.empty([50]), memory.empty([50])
    assert kept[0].data_ptr() != kept[1].data_ptr()
