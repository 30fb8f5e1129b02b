"""Batch norms over all processes, on CPUs; test_train_classifier.py has two processes."""

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from training.sync_batchnorm import CpuSyncBatchNormAct, convert_sync_batchnorm


@pytest.fixture
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_alone_it_is_the_plain_one(process_group):
    torch.manual_seed(0)
    plain, synced = (nn.Sequential(BatchNormAct2d(3, act_layer=nn.SiLU)) for _ in range(2))
    for norm in (plain[0], synced[0]):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    convert_sync_batchnorm(synced, torch.device("cpu"))
    assert type(synced[0]) is CpuSyncBatchNormAct
    batch = 5 + 2 * torch.randn(4, 3, 5, 7)
    inputs = [batch.clone().requires_grad_() for _ in range(2)]
    for model, x in zip((plain, synced), inputs, strict=True):
        (model(x) ** 3).sum().backward()
    assert torch.allclose(plain(batch), synced(batch), atol=1e-5)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-3)
    for (name, a), (_, b) in zip(plain.named_parameters(), synced.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4), name
    for (name, a), (_, b) in zip(plain.state_dict().items(), synced.state_dict().items(), strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-5), name  # also the running statistics
    assert torch.equal(plain.eval()(batch), synced.load_state_dict(plain.state_dict()) and synced.eval()(batch))
