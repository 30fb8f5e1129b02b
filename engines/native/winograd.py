"""Convolutions in a quarter to a half of the products, on kernels of our own (`engines/native/winograd.cpp`).

    on_winograd(network, threads=2)  ->  a module that computes the same

For CPUs with AVX-512, in fp32. Sums are rounded otherwise: their errors are five times those of a plain convolution.
"""

import ctypes
import math
import operator
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.native.libraries import NativeObject

_FLOATS = ctypes.POINTER(ctypes.c_float)
_IN_TIME, _SQUARE, _FIRST = range(3)  # kinds of kernels: 3 x 1 x 1; 3 x 3 or 3 x 3 x 3; 7 x 7 with stride 2
_FIRST_INPUTS = 3  # channels of the pictures
_LEAST_INPUTS = 16  # channels, a register's: with fewer most of the time goes to what lies around the products
_POINTS = 4  # times as many weights as the convolution has
_MOST_BYTES = 2**26  # of a layer's weights: those of 512 channels in three dimensions are for small pictures, often few
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
_RELU_FUNCTIONS = (F.relu, torch.relu, torch.relu_)
_RELU_METHODS = ("relu", "relu_")
_IN_PLACE_OPERATORS = ("iadd", "isub", "imul", "itruediv", "ipow", "setitem")
_SUMS = (operator.add, operator.iadd, torch.add)


def fits(conv: nn.Module) -> bool:
    """Whether the kernels compute this convolution, and with profit: 3 x 3 (it may be dilated), 3 x 3 x 3, 1 x 3 x 3 or
    3 x 1 x 1 with stride 1 and as much padding as keeps the size, or 7 x 7 over any frames, of three channels, with
    stride 2."""
    return _kind_of(conv) is not None


def _kind_of(conv: nn.Module) -> int | None:
    if not _is_convolution(conv) or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    kernel, stride, padding, dilation = map(_in_three, (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    if len(conv.kernel_size) == 2:
        padding = (0, *padding[1:])
    if conv.groups != 1 or _POINTS * conv.weight.numel() * conv.weight.element_size() > _MOST_BYTES:
        return None
    if kernel[1:] == (7, 7) and stride[1:] == (2, 2) and conv.in_channels == _FIRST_INPUTS and dilation == (1, 1, 1):
        return _FIRST if padding[1] == padding[2] <= 3 else None
    if stride != (1, 1, 1) or conv.in_channels < _LEAST_INPUTS or dilation[0] != 1 or dilation[1] != dilation[2]:
        return None
    if kernel == (3, 1, 1):
        return _IN_TIME if padding == (1, 0, 0) else None
    same = (kernel[0] // 2, dilation[1], dilation[1])
    return _SQUARE if kernel in ((1, 3, 3), (3, 3, 3)) and padding == same else None


def _is_convolution(module: nn.Module | None) -> bool:
    """Whether it is PyTorch's own, or computes as that does."""
    return type(module).forward in (nn.Conv2d.forward, nn.Conv3d.forward) if module is not None else False


class WinogradConv(nn.Module):
    """What `conv`, which `fits`, computes, with what is added to it and ReLU: float32 (n, c, [t,] h, w), channels last,
    on the CPU. A call computes on `threads` cores. Raises NativeError where the library can't be had, MemoryError."""

    def __init__(
        self, conv: nn.Conv2d | nn.Conv3d, *, relu: bool = False, threads: int, memory: "Memory | None" = None
    ):
        super().__init__()
        if threads < 1:
            raise ValueError(f"threads {threads}: give 1 or more")
        self.inputs, self.channels, self.relu, self.threads = conv.in_channels, conv.out_channels, relu, threads
        self._memory = memory or Memory()
        self._kernel, self._stride, self._dilation = map(_in_three, (conv.kernel_size, conv.stride, conv.dilation))
        self._padding = (0, *conv.padding)[-3:]
        self._dimensions = len(conv.kernel_size)
        weight = conv.weight.detach().float().contiguous()
        bias = torch.zeros(self.channels) if conv.bias is None else conv.bias.detach().float().contiguous()
        in_time = self._kernel[0], self._padding[0], self._stride[0]
        shape = (_kind_of(conv), conv.in_channels, self.channels, *in_time, self._padding[1])
        numbers = (ctypes.c_int * len(shape))(*shape)
        self._layer = NativeObject("winograd", "layer", numbers, _pointer(weight), _pointer(bias))

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise TypeError(f"{x.dtype} on {x.device}: the kernels are for float32 on the CPU")
        if x.ndim != 2 + self._dimensions or x.shape[1] != self.inputs:
            raise ValueError(f"{tuple(x.shape)}: {self.inputs} channels and {self._dimensions} dimensions are expected")
        layout = _FORMATS[x.ndim]
        x = x.contiguous(memory_format=layout)
        # images are frames of which none sees another; clips are computed one by one
        clips, frames = (1, x.shape[0]) if x.ndim == 4 else (x.shape[0], x.shape[2])
        size = frames, *x.shape[-2:]
        out_size = [self._out_size(axis, length) for axis, length in enumerate(size)]
        if min(out_size) < 1:
            raise ValueError(f"{tuple(x.shape)}: smaller than the kernel {self._kernel}")
        out = self._memory.empty(([] if x.ndim == 4 else [clips]) + [*out_size, self.channels]).movedim(-1, 1)
        if added is not None:
            added = added.to(out).expand_as(out).contiguous(memory_format=layout)
        for clip in range(clips):
            tensors = (tensor if tensor is None or x.ndim == 4 else tensor[clip] for tensor in (x, added, out))
            pointers = [None if tensor is None else _pointer(tensor) for tensor in tensors]
            self._layer.call("run", *size, self._dilation[-1], *pointers, int(self.relu), self.threads)
        return out

    def _out_size(self, axis: int, length: int) -> int:
        reach = self._dilation[axis] * (self._kernel[axis] - 1) + 1
        return (length + 2 * self._padding[axis] - reach) // self._stride[axis] + 1


class Memory:
    """Memory for what lies between the layers of a network: a system that gives it out anew for each of them clears
    it page by page, which takes as long as the products."""

    def __init__(self):
        self._free: list[np.ndarray] = []
        self._lock = threading.RLock()  # what is collected while it is held may come back

    def empty(self, shape: Sequence[int]) -> torch.Tensor:
        """A float32 tensor with any content. Its memory serves again when neither it nor a view of it is left."""
        count = math.prod(shape)
        with self._lock:
            fitting = [i for i, each in enumerate(self._free) if count <= each.size <= 2 * count]
            whole = self._free.pop(min(fitting, key=lambda i: self._free[i].size)) if fitting else None
        if whole is None:
            whole = np.empty(count, np.float32)
        part = whole[:count]
        weakref.finalize(part, self._take_back, whole).atexit = False
        return torch.from_numpy(part).view(*shape)

    def clear(self) -> None:
        """Give back what nothing lies in."""
        with self._lock:
            self._free.clear()

    def _take_back(self, whole: np.ndarray) -> None:
        with self._lock:
            self._free.append(whole)


class _InPlace(nn.Module):
    """A convolution that is not on the kernels; what is added to it, and ReLU, in the memory of its result."""

    def __init__(self, conv: nn.Module, *, relu: bool):
        super().__init__()
        self.conv, self.relu = conv.to(memory_format=_FORMATS[conv.weight.ndim]), relu

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        out = self.conv(x)
        if added is not None:
            out += added
        return out.relu_() if self.relu else out


class _Tracer(fx.Tracer):
    """One that takes torchvision's own kinds of convolutions for convolutions."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return _is_convolution(module) or super().is_leaf_module(module, name)


class _ChannelsLast(nn.Module):
    """A network whose input is laid out as its layers want it; clips go through it one by one. PyTorch's operations
    use `threads` cores too."""

    def __init__(self, network: nn.Module, *, memory: Memory, threads: int):
        super().__init__()
        self.network, self._memory, self._threads = network, memory, threads

    def forward(self, x: torch.Tensor):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self._threads)
            if x.ndim == 4 or len(x) == 1:
                return self.network(x.contiguous(memory_format=_FORMATS[x.ndim]))
            return torch.cat([self.network(clip.contiguous(memory_format=_FORMATS[5])) for clip in x.split(1)])
        finally:
            torch.set_num_threads(before)
            self._memory.clear()


@torch.no_grad()
def on_winograd(network: nn.Module, *, threads: int) -> nn.Module:
    """The network in eval mode with every convolution that `fits` on the kernels, batch norm, addition and ReLU behind
    it included, and channels last; other batch norms are folded too. Input: float32 (n, c, [t,] h, w) on the CPU.

    The network is traced, so what it does may not depend on its input's values or size. It can't be used otherwise
    afterwards. Raises NativeError where the library can't be had, and ValueError for a network that changes in place
    what it uses elsewhere too.
    """
    traced = fx.GraphModule(network, _Tracer().trace(network))
    modules, memory = dict(traced.named_modules()), Memory()
    for node in traced.graph.nodes:
        if _works_in_place(node, modules) and (len(node.args[0].users) > 1 or not node.users):
            raise ValueError(f"{node.name} changes in place what is used elsewhere too, which can't be rearranged")
    for node in list(traced.graph.nodes):
        conv = modules.get(node.target) if node.op == "call_module" else None
        if not _is_convolution(conv):
            continue
        last, added = node, ()
        if isinstance(norm := _module(_only_user(last), modules), nn.BatchNorm2d | nn.BatchNorm3d):
            conv, last = fuse_conv_bn_eval(conv, norm), _only_user(last)
        if others := _summed_with(last):
            added, last = others, _only_user(last)
        relu = _is_relu(_only_user(last), modules)
        if relu:
            last = _only_user(last)
        if fits(conv):
            new: nn.Module = WinogradConv(conv, relu=relu, threads=threads, memory=memory)
        else:
            new = _InPlace(conv, relu=relu)
        _replace(traced, node, last, new, added)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return _ChannelsLast(traced, memory=memory, threads=threads)


def _replace(traced: fx.GraphModule, node: fx.Node, last: fx.Node, module: nn.Module, added: tuple = ()) -> None:
    """Let `module` compute what a convolution's node does and those behind it in a line, up to the `last`."""
    name = f"at_{node.name}"
    traced.add_submodule(name, module)
    with traced.graph.inserting_after(last):
        new = traced.graph.call_module(name)
    last.replace_all_uses_with(new)
    new.args = (*node.args, *added)
    line = [node]
    while line[-1] is not last:
        line.append(_only_user(line[-1]))
    for each in reversed(line):
        traced.graph.erase_node(each)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _module(node: fx.Node | None, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules.get(node.target) if node is not None and node.op == "call_module" else None


def _summed_with(node: fx.Node) -> tuple[fx.Node, ...]:
    """What is added to a node's result, where nothing else is done with it."""
    user = _only_user(node)
    if user is None or user.op != "call_function" or user.target not in _SUMS or user.kwargs:
        return ()
    others = tuple(operand for operand in user.args if operand is not node)
    return others if len(others) == 1 and isinstance(others[0], fx.Node) else ()


def _is_relu(node: fx.Node | None, modules: dict[str, nn.Module]) -> bool:
    if node is None or node.op not in ("call_module", "call_method", "call_function"):
        return False
    if node.op == "call_module":
        return isinstance(_module(node, modules), nn.ReLU)
    return node.target in (_RELU_METHODS if node.op == "call_method" else _RELU_FUNCTIONS)


def _works_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(_module(node, modules), "inplace", False))
    if node.op == "call_method":
        return node.target.endswith("_") and not node.target.endswith("__")
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    name = getattr(node.target, "__name__", "")
    is_operator = getattr(node.target, "__module__", "") == "_operator" and name in _IN_PLACE_OPERATORS
    return is_operator or name.endswith("_") or bool(node.kwargs.get("inplace")) or node.args[1:2] == (True,)


def _in_three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *sizes) if len(sizes) == 2 else tuple(sizes)


def _pointer(tensor: torch.Tensor) -> ctypes.POINTER(ctypes.c_float):
    return ctypes.cast(tensor.data_ptr(), _FLOATS)
