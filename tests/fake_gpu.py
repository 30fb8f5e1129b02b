"""Tensors that say they lie on a second GPU, and hold nothing: mixed devices, wrong types and hidden waiting show."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 1)
_WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")


class NoWaiting(TorchDispatchMode):
    """Fails where the host would have to wait for the GPU: a value is read, or something is copied, there or back.
    `uploaded` are the types of what was copied to the GPU."""

    def __init__(self):
        super().__init__()
        self.uploaded: list[torch.dtype] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name().split("::")[1].split(".")[0]
        assert name not in _WAITS, f"{name} waits for the GPU"
        if name in ("_to_copy", "copy_"):
            target = result if name == "_to_copy" else args[0]
            source = args[0] if name == "_to_copy" else args[1]
            assert not (source.device.type == "cuda" and target.device.type == "cpu"), "a copy to the host waits"
            if source.device.type == "cpu" and target.device.type == "cuda":
                asked = (kwargs or {}).get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
                assert asked, "a copy to the GPU that was not asked not to wait waits for all that it has to do"
                self.uploaded.append(target.dtype)
        return result


@contextlib.contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """The GPU, on which all that is made meanwhile lies by its own word."""
    with (
        mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        mock.patch.object(torch.cuda, "is_bf16_supported", lambda: True),
        mock.patch.object(nn.Module, "to", _moved),
        FakeTensorMode(allow_non_fake_inputs=True),
    ):
        yield GPU


def _moved(module: nn.Module, *args, memory_format: torch.memory_format | None = None, **kwargs) -> nn.Module:
    """As `nn.Module.to`, by new parameters: these tensors can't take another's place."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        to_format = {"memory_format": memory_format} if memory_format and tensor.ndim in (4, 5) else {}
        return tensor.detach().to(*args, **to_format, **kwargs)

    for each in module.modules():
        for name, parameter in each.named_parameters(recurse=False):
            setattr(each, name, nn.Parameter(moved(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in each.named_buffers(recurse=False):
            setattr(each, name, moved(buffer))
    return module
