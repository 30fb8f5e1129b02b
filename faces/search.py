"""Frames searched for faces: some at a time, within a budget of memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from faces.video import Frame, in_chunks
from runtime.memory import MemoryBudget

Found = TypeVar("Found")

# bytes for each pixel of a frame, as measured: what a decoder keeps, the search of one frame, each frame that is held
_DECODER, _SEARCH, _FRAME = 12, 16, 7


def search(
    frames: Iterable[Frame],
    detect: Callable[[Sequence[np.ndarray]], list[Found]],
    *,
    pixels: int,
    most: int,
    memory: MemoryBudget,
) -> Iterator[tuple[int, np.ndarray, Found]]:
    """(index, frame, what `detect` finds in it) of frames of `pixels` pixels, 0 where that is not known.

    It is given `most` frames at a time, fewer where they are large: all threads that use `memory` stay within it, by
    estimate, or one of them reads one video, frame by frame."""
    if pixels:
        most = max(1, min(most, (memory.share // pixels - _DECODER - _SEARCH) // _FRAME))
    with memory.hold(pixels * (_DECODER + _SEARCH + _FRAME * most)):
        for chunk in in_chunks(frames, most):
            for (index, frame), found in zip(chunk, detect([frame for _, frame in chunk]), strict=True):
                yield index, frame, found
