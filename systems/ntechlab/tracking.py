"""Faces followed through a video: the IOU tracker of Bochinski et al. (AVSS 2017), and boxes between detections.

A track grows by the detection that overlaps its last box most and ends where none does. Sums are made in double
precision in the published order, so that ties and thresholds fall as they did.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from runtime import limits
from systems.ntechlab.detections import Detections

SIGMA_L = 0.3  # detections below this score are not looked at
SIGMA_H = 0.9  # a track needs one detection of this score
SIGMA_IOU = 0.3  # overlap of a detection with the last box of the track that it continues

BBox = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the full frame


@dataclass(kw_only=True)
class Track:
    """One face in consecutive detections: detection `start + i` found it at `bboxes[i]`."""

    start: int
    bboxes: list[BBox] = field(default_factory=list)

    @property
    def indices(self) -> range:
        """The numbers of its detections."""
        return range(self.start, self.start + len(self.bboxes))


@dataclass(frozen=True, kw_only=True)
class FrameTrack:
    """One face in consecutive frames: frame `start + i` shows it at `bboxes[i]`, float32 (n, 4)."""

    start: int
    bboxes: np.ndarray


def track_faces(detections: Iterable[Detections], shortest: int = 1) -> list[Track]:
    """Connect detections to tracks of at least `shortest` of them, in the order in which they end.

    `detections` are those of a video's searched frames in order. Tracks that are alive at the end come last.
    """
    active: list[tuple[Track, float]] = []  # with the highest score so far
    finished: list[Track] = []

    def finish(track: Track, highest: float) -> None:
        if highest >= SIGMA_H and len(track.bboxes) >= shortest:
            finished.append(track)

    for index, found in enumerate(detections):
        # scores as Python's floats: 0.9 in single precision is below SIGMA_H, as it was in the published run
        pool = [
            (tuple(map(float, bbox)), float(score))
            for bbox, score in zip(found.bboxes, found.scores, strict=True)
            if float(score) >= SIGMA_L
        ]
        alive = []
        for track, highest in active:
            overlaps = [iou(track.bboxes[-1], bbox) for bbox, _ in pool]
            best = max(range(len(pool)), key=overlaps.__getitem__, default=None)
            if best is None or overlaps[best] < SIGMA_IOU:
                finish(track, highest)
                continue
            bbox, score = pool.pop(best)
            track.bboxes.append(bbox)
            alive.append((track, max(highest, score)))
        active = alive + [(Track(start=index, bboxes=[bbox]), score) for bbox, score in pool]
    for track, highest in active:
        finish(track, highest)
    return finished


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2; 0 where they don't overlap."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection)


def check_crowd(tracks: Iterable[Track]) -> None:
    """Raises ValueError for tracks out of a file of which more are there at a time than a frame may have faces."""
    changes: Counter = Counter()
    for track in tracks:
        changes[track.indices.start] += 1
        changes[track.indices.stop] -= 1
    most = max(accumulate(changes[index] for index in sorted(changes)), default=0)
    if most > limits.FACES:
        raise ValueError(f"{most} tracks at a time, over the limit of {limits.FACES}")


def interpolate(track: Track, step: int) -> FrameTrack:
    """The boxes of a track at every frame from its first detection to its last, which lie `step` frames apart.

    Each coordinate is linear between detections: 7 of them, three frames apart, give 19 frames.
    """
    found = np.asarray(track.bboxes, np.float64)
    at = np.arange(len(found)) * step
    wanted = np.arange(at[-1] + 1)
    between = np.stack([np.interp(wanted, at, coordinate) for coordinate in found.T], axis=1)
    return FrameTrack(start=track.start * step, bboxes=between.astype(np.float32))
