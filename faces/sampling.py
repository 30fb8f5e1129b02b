"""Which frames of a video are looked at."""

import numpy as np

from faces.video import VideoInfo

_ASSUMED_RATE = 30  # frames a second, of a video that does not say
_TOLERANCE = 1e-6  # seconds: a moment that a frame begins with is that frame's, however its time was rounded


def evenly_spaced(frame_count: int, wanted: int) -> list[int]:
    """`wanted` frames from the first to the last, evenly (the reference's rule); all of them where there are fewer.

    The reference's reader stops at a repeated index, and so takes one frame of a video with fewer than `wanted`.
    """
    if wanted >= frame_count:
        return list(range(frame_count))
    return sorted({int(index) for index in np.linspace(0, frame_count - 1, wanted, endpoint=True, dtype=int)})


def spaced_in_time(info: VideoInfo, per_second: float) -> list[int]:
    """`per_second` frames a second from the first on: of each moment the frame that is shown then. All frames of a
    video that has no more."""
    if len(info.times) == info.frame_count:
        times = info.times - info.times[:1]
    else:
        times = np.arange(info.frame_count) / (info.rate or _ASSUMED_RATE)
    lasts = np.diff(times)[-1:] if len(times) > 1 else 1 / per_second  # of the last frame nothing tells how long
    moments = (times - _TOLERANCE) * per_second  # counted in moments
    ends = np.append(moments[1:], moments[-1:] + lasts * per_second)
    shown = np.ceil(moments) < ends
    shown[:1] = True  # however small the share of a moment is that it takes
    return np.flatnonzero(shown).tolist()
