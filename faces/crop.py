"""The one way a face is cut out of a frame."""

from collections.abc import Sequence

import numpy as np


def crop_face(frame: np.ndarray, bbox: Sequence[float]) -> np.ndarray | None:
    """Cut a face with a margin of a third of its size on every side (published pipeline, extract_crops.py).

    `frame` is (height, width, channels) in any colour order, `bbox` is (x1, y1, x2, y2) in its pixels. Coordinates are
    truncated to integers, the padded box is clipped to the frame. Returns a view into `frame`, or None where nothing
    of the box lies inside it.
    """
    x1, y1, x2, y2 = (int(value) for value in bbox)
    pad_x, pad_y = (x2 - x1) // 3, (y2 - y1) // 3
    crop = frame[max(y1 - pad_y, 0) : max(y2 + pad_y, 0), max(x1 - pad_x, 0) : max(x2 + pad_x, 0)]
    return crop if crop.size else None
