"""OpenVINO as an optional engine for networks on the CPU: same weights and inputs, faster kernels.

Nothing here is needed: every caller has a PyTorch path for when the package is not installed.
"""

import functools
import importlib.util
import math
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

_PRECISION_HINT = {"fp32": "f32", "bf16": "bf16"}
_KEPT_SHAPES = 128  # MTCNN asks for about ten shapes for each size of video
_KEPT_BYTES = 2**24  # of input: each thread keeps ten times as much, and 8K frames are seldom


def is_installed() -> bool:
    """True where `pip install openvino` was done (requirements.txt does it on x86-64)."""
    return importlib.util.find_spec("openvino") is not None


def _import_openvino():
    """Without its telemetry, which calls home from forked processes at every conversion."""
    sys.modules["openvino_telemetry"] = None  # its import fails, and OpenVINO does without
    import openvino

    return openvino


_MAKING = threading.Lock()


@functools.cache
def _core():
    """One for the life of the process. On CPUs with AMX each sets a stack for signal handlers and, when it goes, the
    one that it found: of two, the second sets what the first has freed, and the next signal ends the process (SIGSEGV).
    """
    return _import_openvino().Core()


class OpenVinoNetwork:
    """A network compiled for the CPU: float32 array in, list of its output arrays out.

    May be called from `streams` threads at once, each of which then computes on one core: parallel work without
    barriers keeps its pace when other threads need a core too. `threads` are the cores of all streams together, where
    they are more. `example` is traced. `precision` is fp32 or bf16. `input_shape` has -1 for free dimensions, for which
    up to `kept` layers made ready for a shape are kept in memory; without it the network is compiled anew for each
    shape that comes, which takes a small one 30 ms and makes it a third faster than free dimensions do.
    """

    def __init__(
        self,
        network: nn.Module,
        example: torch.Tensor,
        *,
        precision: str = "fp32",
        streams: int = 1,
        threads: int | None = None,
        input_shape: Sequence[int] | None = None,
        kept: int = 5000,
    ):
        ov = _import_openvino()
        with _MAKING:
            self._core = _core()
        self._config = {
            "INFERENCE_PRECISION_HINT": _PRECISION_HINT[precision],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads or streams,
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": kept,
        }
        with warnings.catch_warnings():  # the tracer warns of shapes that it takes for constants: they are
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network, example, check_trace=False)  # the check takes two thirds of the time
            self._model = ov.convert_model(traced, example_input=example)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[int, ...], _Compiled] = OrderedDict()
        self._fixed = None
        if input_shape is not None:
            self._fixed = self._compile(tuple(input_shape))
            del self._model

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        return (self._fixed or self._for_shape(batch.shape))(batch)

    def release_memory(self) -> None:
        """Give back what the calls so far took beside weights and results; the next call takes it anew. Only for a
        network with an `input_shape`, and while no call computes."""
        self._fixed.release_memory()

    def _compile(self, shape: tuple[int, ...]) -> "_Compiled":
        self._model.reshape(list(shape))
        return _Compiled(self._core.compile_model(self._model, "CPU", self._config))

    def _for_shape(self, shape: tuple[int, ...]) -> "_Compiled":
        with self._lock:
            if 4 * math.prod(shape) > _KEPT_BYTES:
                return self._compile(shape)
            compiled = self._compiled.get(shape)
            if compiled is None:
                compiled = self._compiled[shape] = self._compile(shape)
                if len(self._compiled) > _KEPT_SHAPES:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return compiled


class _Compiled:
    """A compiled model with an inference request for each thread that calls it."""

    def __init__(self, model):
        self._model = model
        self._local = threading.local()
        self.release_memory = model.release_memory

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        results = self._local.request.infer([batch], share_inputs=True)
        return [np.array(results[output]) for output in self._model.outputs]


class ChannelsLast(nn.Module):
    """A network that takes images as (n, h, w, 3)."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images.permute(0, 3, 1, 2))
