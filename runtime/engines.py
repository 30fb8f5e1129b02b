"""What runs the networks: PyTorch on any device; on a CPU also OpenVINO or kernels of our own, which are faster."""

import torch

from runtime import native_engine, openvino_engine
from runtime.device import ChoiceError

ENGINES = ("auto", "native", "openvino", "torch")


def choose_engine(engine: str, device: torch.device) -> str:
    """ "native", "openvino" or "torch"; "auto" is the first of `usable_engines`.

    Raises ChoiceError where what was asked for can't be had, ValueError for an unknown name.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: use one of {', '.join(ENGINES)}")
    if engine == "auto":
        return usable_engines(device)[0]
    if engine in ("native", "openvino") and device.type != "cpu":
        raise ChoiceError(f"--engine {engine} works on the CPU; use --device cpu or --engine torch")
    if engine == "native" and (reason := native_engine.why_not()):
        raise ChoiceError(f"--engine native: {reason}; or use --engine auto")
    if engine == "openvino" and not openvino_engine.is_installed():
        raise ChoiceError("--engine openvino: it is not installed; pip install openvino, or use --engine auto")
    return engine


def usable_engines(device: torch.device) -> list[str]:
    """Those that can be had, the fastest first."""
    if device.type != "cpu":
        return ["torch"]
    native = [] if native_engine.why_not() else ["native"]
    return [*native, *(["openvino"] if openvino_engine.is_installed() else []), "torch"]
