"""What the tests of NtechLab's system share: the golden data of `../shared`, and small detections."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from systems.ntechlab.detections import Detections
from tests.media import SHARED

GOLDEN = SHARED / "golden" / "ntechlab"


def golden(name: str) -> Any:
    """A JSON file of the golden data."""
    return json.loads((GOLDEN / name).read_text())


def video_path(name: str) -> Path:
    """A video of the golden data: the pair lies in a part, the others are test videos."""
    return next((SHARED / "videos").glob(f"*/{name}"))


def found(*faces: tuple[tuple[float, ...], float]) -> Detections:
    """The detections of a frame, from (box, score) of each face."""
    return Detections(
        bboxes=np.array([bbox for bbox, _ in faces], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score in faces], np.float32),
    )


def recorded(frames: list[dict]) -> list[Detections]:
    """Detections as the golden files list them."""
    return [found(*zip(map(tuple, frame["boxes"]), frame["scores"], strict=True)) for frame in frames]
