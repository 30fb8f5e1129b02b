"""Imported first by every script: where this Python has not what the others import, one line says what to do.

Nothing but the standard library is used here, in words that older Pythons know, too.
"""

import importlib.util
import sys

# what requirements.txt installs, and its comments don't call optional, by the names that are imported
REQUIRED = (
    "torch",
    "torchvision",
    "timm",
    "facenet_pytorch",
    "safetensors",
    "cv2",
    "av",
    "numpy",
    "PIL",
    "tqdm",
    "skimage",
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "albumentations",
    "pydantic",
    "lir",
    "tensorboard",
)
_PYTHON = (3, 11)
_NAMED = 3


def what_is_missing():
    """What this Python lacks, in words; None where it has everything."""
    if sys.version_info < _PYTHON:
        return f"is older than Python {_PYTHON[0]}.{_PYTHON[1]}"
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    others = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"lacks {', '.join(missing[:_NAMED])}{others}" if missing else None


_MISSING = what_is_missing()
if _MISSING:
    sys.exit(f"error: {sys.executable} {_MISSING}: run make setup once, then .venv/bin/python {sys.argv[0]}")
