"""A network as ONNX, which other runtimes compute. Optional: requirements-export.txt has what it needs."""

import importlib.util
import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import nn

PACKAGES = ("onnx", "onnxruntime")
_OPSET = 18


def why_not() -> str | None:
    """Why ONNX can't be written and computed here, with what to install; None where it can."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    those = "is" if len(missing) == 1 else "are"
    return f"{', '.join(missing)} {those} not installed; pip install -r requirements-export.txt"


def to_onnx(
    network: nn.Module,
    example: torch.Tensor,
    *,
    input_name: str = "x",
    output_names: Sequence[str] = ("y",),
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """A network in eval mode with one input, as ONNX has it in a file.

    `free` has by name of input and outputs the axes that may have any size, by number, and what to call them; others
    keep the sizes of `example`, which is computed. A B7 takes five seconds of a core.
    """
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it tells of sizes that are compared, and that it is the older exporter
        # of which PyTorch has a newer one that takes the length of a clip for a constant where a network's padding
        # depends on it, without a word
        torch.onnx.export(
            network,
            (example,),
            written,
            dynamo=False,
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_axes={name: dict(axes) for name, axes in (free or {}).items()},
            opset_version=_OPSET,
        )
    return written.getvalue()
