"""What a score was computed with besides videos and models: project, Python, libraries, processor, GPU."""

import platform
from importlib import metadata, util
from pathlib import Path
from typing import Any

import av
import torch

from runtime.digests import digest_of
from runtime.processor import processor
from runtime.source_tree import source_tree

# as requirements.txt and requirements-export.txt have them
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "facenet-pytorch",
    "safetensors",
    "opencv-python-headless",
    "av",
    "numpy",
    "pillow",
    "tqdm",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "pandas",
    "albumentations",
    "pydantic",
    "lir",
    "tensorboard",
    "isal",
    "openvino",
    "onnx",
    "onnxruntime",
)
# features of processors that decide which arithmetic libraries take, and so the last digits of scores
_FEATURES_OF_NOTE = ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")
_FEATURES_OF_NOTE += ("avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "asimd", "asimddp", "bf16", "sve")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def machine_facts(device: torch.device) -> dict[str, Any]:
    """As JSON has it. Where something can't be known, or is not installed, it is None."""
    found = processor()
    return {
        "project": source_tree(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "ffmpeg": {name: ".".join(map(str, numbers)) for name, numbers in sorted(av.library_versions.items())},
        "processor": {
            "model": found.model,
            "features": [name for name in _FEATURES_OF_NOTE if name in found.features],
            "torch_uses": torch.backends.cpu.get_cpu_capability(),
        },
        "mtcnn": mtcnn_weights(),
        "gpu": gpu_facts(device) if device.type == "cuda" else None,
    }


def gpu_facts(device: torch.device) -> dict[str, Any]:
    """Of a GPU that PyTorch can use; `memory` is in bytes."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "driver": nvidia_driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def mtcnn_weights() -> dict[str, str]:
    """SHA-256 of the weights of the face detector's networks, by their files' names: facenet-pytorch brings them."""
    package = util.find_spec("facenet_pytorch")
    files = sorted((Path(package.origin).parent / "data").glob("*net.pt")) if package and package.origin else []
    return {path.name: digest_of(path).sha256 for path in files}


def nvidia_driver() -> str | None:
    """The version of NVIDIA's driver, in its own words."""
    try:
        return _NVIDIA_DRIVER.read_text(errors="replace").partition("\n")[0].removeprefix("NVRM version:").strip()
    except OSError:
        return None


def version_of(library: str) -> str | None:
    """Of an installed library, by the name that pip knows it by."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
