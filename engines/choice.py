"""What runs the networks: PyTorch on any device; kernels of our own, or OpenVINO on a CPU, faster; ONNX Runtime."""

import torch

from engines import onnxruntime_engine, openvino_engine
from engines.device import ChoiceError
from engines.native import cuda_kernels, libraries

ENGINES = ("auto", "native", "openvino", "onnxruntime", "torch")


def choose_engine(engine: str, device: torch.device) -> str:
    """The engine by its name; "auto" is the first of `usable_engines`.

    Raises ChoiceError where what was asked for can't be had, ValueError for an unknown name.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: use one of {', '.join(ENGINES)}")
    if engine == "auto":
        return usable_engines(device)[0]
    if engine == "openvino" and device.type != "cpu":
        raise ChoiceError("--engine openvino works on the CPU; use --device cpu or --engine auto")
    if engine == "native" and (reason := _why_not_native(device)):
        raise ChoiceError(f"--engine native: {reason}; or use --engine auto")
    if engine == "openvino" and not openvino_engine.is_installed():
        raise ChoiceError("--engine openvino: it is not installed; pip install openvino, or use --engine auto")
    if engine == "onnxruntime" and (reason := onnxruntime_engine.why_not(device)):
        raise ChoiceError(f"--engine onnxruntime: {reason}, or use --engine auto")
    return engine


def usable_engines(device: torch.device) -> list[str]:
    """Those that "auto" chooses from, the fastest first; ONNX Runtime runs where it is asked for alone."""
    native = [] if _why_not_native(device) else ["native"]
    if device.type != "cpu":
        return [*native, "torch"]
    return [*native, *(["openvino"] if openvino_engine.is_installed() else []), "torch"]


def _why_not_native(device: torch.device) -> str | None:
    return libraries.why_not() if device.type == "cpu" else cuda_kernels.why_not(device)
