"""Batch norms over all processes; test_train_classifier.py has two processes, test_on_gpu.py a GPU."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from tests.fake_gpu import NoWaiting, fake_gpu
from training import sync_batchnorm
from training.sync_batchnorm import OnGpu, SyncedBatchNorm2d, SyncedBatchNormAct, convert_sync_batchnorm

NORMS = [(nn.BatchNorm2d, (4, 3, 5, 7)), (BatchNormAct2d, (4, 3, 5, 7)), (nn.BatchNorm3d, (4, 3, 2, 5, 7))]


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def kernels(monkeypatch):
    """PyTorch's kernels for GPUs, by what they are to compute."""
    for name, function in vars(Kernels).items():
        if name.startswith("batch_norm"):
            monkeypatch.setattr(torch, name, function.__func__)


class Kernels:
    @staticmethod
    def batch_norm_stats(x, eps):
        values = x.float()
        return values.mean(_others(x)), (values.var(_others(x), correction=0) + eps).rsqrt()

    @staticmethod
    def batch_norm_gather_stats_with_counts(x, means, inverses, running_mean, running_var, momentum, eps, counts):
        assert counts.ndim == 1 and means.shape == inverses.shape == (len(counts), x.shape[1])
        total = counts.sum()
        mean = (means * counts[:, None]).sum(0) / total
        squares = inverses**-2 - eps + (means - mean) ** 2
        variance = (squares * counts[:, None]).sum(0) / total
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * total / (total - 1), momentum)
        return mean, (variance + eps).rsqrt()

    @staticmethod
    def batch_norm_elemt(x, weight, bias, mean, inverse, eps):
        return ((x.float() - _wide(mean, x)) * _wide(inverse * weight, x) + _wide(bias, x)).to(x.dtype)

    @staticmethod
    def batch_norm_backward_reduce(gradient, x, mean, inverse, weight, of_x, of_weight, of_bias):
        sums = gradient.float().sum(_others(x))
        products = (gradient.float() * (x.float() - _wide(mean, x))).sum(_others(x))
        first = (sums, products) if of_x else (None, None)
        return *first, products * inverse if of_weight else None, sums if of_bias else None

    @staticmethod
    def batch_norm_backward_elemt(gradient, x, mean, inverse, weight, sums, products, counts):
        assert counts.dtype == torch.int32
        total = counts.sum()
        centred = (x.float() - _wide(mean, x)) * _wide(inverse**2 * products / total, x)
        return ((gradient.float() - _wide(sums / total, x) - centred) * _wide(inverse * weight, x)).to(x.dtype)


def _others(x):
    return (0, *range(2, x.ndim))


def _wide(values, x):
    return values.view(-1, *[1] * (x.ndim - 2))


class Ranks:
    """Two threads in the place of processes: what collectives do, and how often."""

    def __init__(self, monkeypatch):
        self._together, self._given, self.calls = threading.Barrier(2, timeout=60), {}, []
        self._rank = threading.local()
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "all_gather_into_tensor", self._gather)
        monkeypatch.setattr(dist, "all_reduce", self._reduce)

    def _all(self, mine):
        self._given[self._rank.number] = mine.clone()
        self._together.wait()
        everyone = torch.stack([self._given[0], self._given[1]])
        self._together.wait()
        return everyone

    def _gather(self, result, mine):
        self.calls.append("gather")
        result.copy_(self._all(mine))

    def _reduce(self, values):
        self.calls.append("reduce")
        values.copy_(self._all(values).sum(0))

    def run(self, function, of_rank):
        def start(rank):
            self._rank.number = rank
            return function(of_rank[rank])

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(start, range(2)))


def layer(kind, shape):
    norm = kind(shape[1], act_layer=nn.SiLU) if kind is BatchNormAct2d else kind(shape[1])
    generator = torch.Generator().manual_seed(1)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)
    return nn.Sequential(norm)


@pytest.mark.parametrize("kind, shape", NORMS)
def test_alone_it_is_the_plain_one(process_group, kind, shape):
    torch.manual_seed(0)
    plain, synced = (layer(kind, shape) for _ in range(2))
    convert_sync_batchnorm(synced)
    assert type(synced[0]) is not kind and isinstance(synced[0], kind)
    batch = 5 + 2 * torch.randn(shape)
    inputs = [batch.clone().requires_grad_() for _ in range(2)]
    for model, x in zip((plain, synced), inputs, strict=True):
        (model(x) ** 3).sum().backward()
    assert torch.allclose(plain(batch), synced(batch), atol=1e-5)
    assert_same(plain, synced, *(x.grad for x in inputs))
    assert torch.equal(plain.eval()(batch), synced.load_state_dict(plain.state_dict()) and synced.eval()(batch))


def assert_same(plain, synced, gradient, of_synced):
    assert torch.allclose(gradient, of_synced, rtol=1e-3, atol=1e-3)
    for (name, a), (_, b) in zip(plain.named_parameters(), synced.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-4), name
    for (name, a), (_, b) in zip(plain.state_dict().items(), synced.state_dict().items(), strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-5), name  # also the running statistics


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind, shape", NORMS)
def test_on_gpus_two_processes_are_one_with_both_batches(kernels, monkeypatch, kind, shape, last):
    """The way of GPUs, on the CPU. One of them has three times as many samples. One collective each way."""
    monkeypatch.setattr(
        sync_batchnorm, "_normed", lambda norm, x: OnGpu.apply(x, norm.weight, norm.bias, norm).contiguous()
    )
    plain, first, second = (layer(kind, shape) for _ in range(3))
    batch = 5 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if last:
        batch = batch.contiguous(memory_format=torch.channels_last if batch.ndim == 4 else torch.channels_last_3d)
    inputs = [each.clone().requires_grad_() for each in (batch, batch[:3], batch[3:])]
    (plain(inputs[0]) ** 3).sum().backward()

    def train(rank):
        model, x = rank
        (convert_sync_batchnorm(model)(x) ** 3).sum().backward()

    ranks = Ranks(monkeypatch)
    ranks.run(train, [(first, inputs[1]), (second, inputs[2])])
    assert sorted(ranks.calls) == ["gather"] * 2 + ["reduce"] * 2
    for parameter, other in zip(first.parameters(), second.parameters(), strict=True):
        parameter.grad += other.grad
    for model in (first, second):  # that batches were counted is `_normed`'s
        model[0].num_batches_tracked += 1
    assert_same(plain, first, inputs[0].grad, torch.cat([inputs[1].grad, inputs[2].grad]))
    assert torch.equal(first[0].running_var, second[0].running_var)


def test_what_is_frozen_has_no_gradient(kernels, monkeypatch):
    """And where no input asks for one, nothing is reduced."""
    ranks = Ranks(monkeypatch)
    models = [layer(nn.BatchNorm2d, (4, 3, 5, 7)) for _ in range(2)]
    for model in models:
        model[0].weight.requires_grad_(False)

    def train(norm):
        OnGpu.apply(torch.randn(2, 3, 4, 4), norm.weight, norm.bias, norm).sum().backward()
        return norm.weight.grad, norm.bias.grad

    for weight, bias in ranks.run(train, [model[0] for model in models]):
        assert weight is None and torch.equal(bias, torch.full((3,), 32.0))
    assert ranks.calls == ["gather"] * 2


class Saved:
    """What the forward pass of a layer leaves to the backward pass, which autograd can't run without a GPU."""

    needs_input_grad = True, True, True, False

    def __init__(self, norm, x):
        counts = torch.ones(2, dtype=torch.int32, device=x.device)
        self.saved_tensors = x, norm.weight, norm.running_mean, norm.running_var, counts


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_host_does_not_wait(kernels, monkeypatch, dtype):
    """Tensors that say they lie on a GPU; PyTorch's own layer is the counterexample."""
    monkeypatch.setattr(dist, "get_world_size", lambda group=None: 2)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    for collective in ("all_gather_into_tensor", "all_reduce"):
        monkeypatch.setattr(dist, collective, lambda *_, **__: None)

    class Group:
        WORLD = type("World", (), {"_get_backend_name": lambda self: "nccl"})()

    monkeypatch.setattr(dist, "group", Group)
    with fake_gpu() as gpu:
        with gpu:
            model = nn.Sequential(BatchNormAct2d(3), nn.BatchNorm2d(3)).train()
            x = torch.zeros(2, 3, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
        convert_sync_batchnorm(model)
        assert [type(each) for each in model] == [SyncedBatchNormAct, SyncedBatchNorm2d]
        with NoWaiting():
            y = model(x)
            backward = OnGpu.backward(Saved(model[1], x), y)
        assert y.device == gpu and y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
        assert backward[0].dtype == dtype and backward[0].is_contiguous(memory_format=torch.channels_last)
        with gpu:
            theirs = nn.SyncBatchNorm(3)
        with pytest.raises(DynamicOutputShapeException, match="nonzero"), NoWaiting():
            theirs(x)
