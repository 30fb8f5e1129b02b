"""What runs the networks: PyTorch on any device; kernels of our own, or OpenVINO on a CPU, faster; ONNX Runtime.

"native" are our kernels for EfficientNets and MTCNN, on GPUs and on CPUs with AMX; "avx512" those for MTCNN and for
convolutions of 3 x 3 and more, on CPUs with AVX-512.
"""

from collections.abc import Sequence

import torch

from engines import onnxruntime_engine, openvino_engine
from engines.device import ChoiceError
from engines.native import cuda_kernels, libraries

ENGINES = ("auto", "native", "avx512", "openvino", "onnxruntime", "torch")


def choose_engine(engine: str, device: torch.device, among: Sequence[str] = ENGINES) -> str:
    """The engine by its name; "auto" is the first of `usable_engines` that is `among` those.

    Raises ChoiceError where what was asked for can't be had, ValueError for a name that is not among them.
    """
    if engine not in ("auto", *among):
        raise ValueError(f"engine {engine!r}: use one of {', '.join(dict.fromkeys(('auto', *among)))}")
    if engine == "auto":
        return usable_engines(device, among)[0]
    if engine in ("avx512", "openvino") and device.type != "cpu":
        raise ChoiceError(f"--engine {engine} works on the CPU; use --device cpu or --engine auto")
    if engine == "native" and (reason := _why_not_native(device)):
        raise ChoiceError(f"--engine native: {reason}; or use --engine auto")
    if engine == "avx512" and (reason := libraries.why_not(*libraries.FOR_AVX512)):
        raise ChoiceError(f"--engine avx512: {reason}; or use --engine auto")
    if engine == "openvino" and not openvino_engine.is_installed():
        raise ChoiceError("--engine openvino: it is not installed; pip install openvino, or use --engine auto")
    if engine == "onnxruntime" and (reason := onnxruntime_engine.why_not(device)):
        raise ChoiceError(f"--engine onnxruntime: {reason}, or use --engine auto")
    return engine


def usable_engines(device: torch.device, among: Sequence[str] = ENGINES) -> list[str]:
    """Those that "auto" chooses from, the fastest first; ONNX Runtime runs where it is asked for alone."""
    engines = [] if _why_not_native(device) else ["native"]
    if device.type == "cpu":
        engines += [] if libraries.why_not(*libraries.FOR_AVX512) else ["avx512"]
        engines += ["openvino"] if openvino_engine.is_installed() else []
    return [engine for engine in (*engines, "torch") if engine in among]


def _why_not_native(device: torch.device) -> str | None:
    return libraries.why_not() if device.type == "cpu" else cuda_kernels.why_not(device)
