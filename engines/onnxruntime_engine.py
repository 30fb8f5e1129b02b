"""ONNX Runtime as an optional engine, on the CPU and on NVIDIA's GPUs: networks are converted as export.py does it.

Nothing here is needed: every caller has a PyTorch path for when the packages are not installed.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from engines import onnx_model
from engines.device import ChoiceError


def why_not(device: torch.device) -> str | None:
    """Why the engine can't be had here, with what to do; None where it can."""
    if reason := onnx_model.why_not():
        return reason
    if device.type == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return "the installed ONNX Runtime knows no GPU; pip install onnxruntime-gpu in its place"
    return None


class OnnxRuntimeNetwork:
    """A network with one input and one output, compiled by ONNX Runtime: float32 array in, float32 array out.

    May be called from several threads at once: a call computes on `threads` cores of a CPU, or on the GPU. `example`
    is computed; `free` are the axes of the input that may have any size, by number, and what to call them. fp32 alone
    is offered, to the same scores as PyTorch's. Raises ChoiceError for another precision, and where ONNX Runtime finds
    no way to the GPU.
    """

    def __init__(
        self,
        network: nn.Module,
        example: torch.Tensor,
        *,
        device: torch.device,
        precision: str,
        threads: int = 1,
        free: Mapping[int, str] | None = None,
    ):
        if precision != "fp32":
            raise ChoiceError(f"--engine onnxruntime: computes in fp32, not in {precision}; add --precision fp32")
        model = onnx_model.to_onnx(network, example, free={"x": free} if free else None)
        self._session = session(model, device, threads, keep_memory=not free)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: batch})[0]


def session(model: bytes, device: torch.device, threads: int = 1, *, keep_memory: bool = True):
    """An onnxruntime.InferenceSession of a model. With `keep_memory` what a call took is kept for the next, which is of
    use where all inputs have one size. Raises ChoiceError where ONNX Runtime finds no way to the GPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a core that waits is another's
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keep_memory
    options.log_severity_level = 3  # errors: its warnings are for whoever wrote the model
    if device.type != "cuda":
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # as `engines.gpu.forbid_tf32`; the search for the fastest convolutions would begin anew for each length of clip
    on_gpu = {"device_id": device.index or 0, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    made = onnxruntime.InferenceSession(model, options, providers=[("CUDAExecutionProvider", on_gpu)])
    if "CUDAExecutionProvider" not in made.get_providers():  # it goes on without a word on the CPU
        raise ChoiceError(
            "--engine onnxruntime: ONNX Runtime can't use the GPU (its CUDA is not the driver's, or not PyTorch's); "
            "use --engine auto, or --device cpu"
        )
    return made
