"""Which frames of a video are looked at."""

import numpy as np


def evenly_spaced(frame_count: int, wanted: int) -> list[int]:
    """`wanted` frames from the first to the last, evenly (the reference's rule); all of them where there are fewer.

    The reference's reader stops at a repeated index, and so takes one frame of a video with fewer than `wanted`.
    """
    if wanted >= frame_count:
        return list(range(frame_count))
    return sorted({int(index) for index in np.linspace(0, frame_count - 1, wanted, endpoint=True, dtype=int)})
