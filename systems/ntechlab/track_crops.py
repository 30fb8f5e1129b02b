"""Which 50 frames of an aligned track are cut out for training, where, and which folders of crops belong together.

A folder `part/video.mp4_S_X_Y` holds `0.png` to `49.png`: frames S, S + 1, ... of the video, each cut out at the same
rectangle, whose corner is X, Y. An original and its fake are cut at the same frames and place.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.enlarged_box import Corners, enlarged_box
from systems.ntechlab.tracking import BBox

SEED = 0xDEADFACE  # of the published run
PAIRS_FILE, TRACKS_FOLDER = "track_pairs.txt", "tracks"  # in a data root
FRAMES = 50  # of a folder
DETECT_EVERY = 6  # frames of a video, for training
DETECTIONS = FRAMES // DETECT_EVERY  # that the frames of a folder must have
_MIDDLE = DETECTIONS // 2  # the one whose box is taken


@dataclass(frozen=True, kw_only=True)
class TrackCrops:
    """A folder of crops: frames `first_frame`, ... of a video, at `corners`, in pixels of the full frame.

    `bboxes` is the face's whole aligned track in that video, float32 (n, 4), relative to the upper left corner: what
    `boxes.float32` holds, row by row.
    """

    video: str
    first_frame: int
    corners: Corners
    bboxes: np.ndarray

    @property
    def folder(self) -> str:
        """`part/video.mp4_S_X_Y`."""
        return f"{self.video}_{self.first_frame}_{self.corners[0]}_{self.corners[1]}"

    @property
    def frames(self) -> range:
        """The frames that are wanted; a video may end before them."""
        return range(self.first_frame, self.first_frame + FRAMES)


def plan_track_crops(
    aligned: Iterable[AlignedTrack], sizes: Mapping[str, tuple[int, int]], draw: random.Random
) -> list[TrackCrops]:
    """The folders of all aligned tracks, in order; the original's before the fake's.

    `sizes` are (width, height) of the videos in pixels; a video that is not among them gets no folder. `draw` is asked
    twice for each track that is long enough, in order: the published folders come from `random.Random(SEED)` over the
    whole list, so that a part of it can't be planned alone. Where two tracks name the same folder, of different
    rectangles maybe, the first one has it.
    """
    planned: dict[str, TrackCrops] = {}
    for track in aligned:
        length = len(track.real_bboxes)
        if length < DETECTIONS:
            continue
        start = draw.randint(0, length - DETECTIONS)
        of_real = draw.choice([False, True])
        bbox = (track.real_bboxes if of_real else track.fake_bboxes)[start + _MIDDLE]
        for video, bboxes in ((track.real, track.real_bboxes), (track.fake, track.fake_bboxes)):
            if video not in sizes:
                continue
            corners = enlarged_box(bbox, *sizes[video])
            crops = TrackCrops(
                video=video,
                first_frame=(track.start + start) * DETECT_EVERY,
                corners=corners,
                bboxes=_relative(bboxes, corners),
            )
            planned.setdefault(crops.folder, crops)
    return list(planned.values())


def _relative(bboxes: Sequence[BBox], corners: Corners) -> np.ndarray:
    return (np.asarray(bboxes, np.float64) - (*corners[:2], *corners[:2])).astype(np.float32)


def pair_folders(folders: Collection[str], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs (original's folder, fake's folder) of the same frames and place, sorted.

    `folders` are those that hold a `0.png`, as `part/video.mp4_S_X_Y`; `pairs` are (original, fake) videos.
    """
    originals = {fake: real for real, fake in pairs}
    there = set(folders)
    found = []
    for folder in there:
        video, suffix = split_folder(folder)
        real = f"{originals[video]}{suffix}" if video in originals else None
        if real in there:
            found.append((real, folder))
    return sorted(found, key=lambda pair: (split_folder(pair[1])[0], *pair))


def split_folder(folder: str) -> tuple[str, str]:
    """A folder's name as the video's, `part/video.mp4`, and the rest, `_S_X_Y`."""
    video, *numbers = folder.rsplit("_", 3)
    return video, "".join(f"_{number}" for number in numbers)
