"""Which frames of a video are looked at, and what the models see of them.

    kept = keep_frames(info.frame_count, info.rate)
    tracks = find_tracks(detections)                      # of every third frame kept: kept.searched
    planned = plan_inputs(tracks, info.width, info.height)
    maker = InputMaker(planned, kept.frames)
    for index, frame in iter_frames(path, lambda count: maker.source_frames):
        for model_input, images in maker.feed(index, frame):
            ...

A video is read twice: searched first, and then cut to images, of which only those of unfinished sequences are held.
Frames are numbered as they are kept, tracks and inputs by these numbers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from systems.ntechlab.detections import Detections
from systems.ntechlab.enlarged_box import Corners, enlarged_box, is_empty
from systems.ntechlab.face_images import IMAGES
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH
from systems.ntechlab.tracking import FrameTrack, interpolate, track_faces

RATE = 15  # frames a second that are kept, about
DETECT_EVERY = 3  # kept frames
SHORTEST_TRACK = 7  # detections
_SEQUENCE_STEP = 14  # kept frames from the start of one sequence to the next
_FACE_STEP = 2
_ASSUMED_RATE = 30  # of a video that does not say


@dataclass(frozen=True, kw_only=True)
class KeptFrames:
    """The frames of a video that are kept, by their indices in it, ascending; `note` is what a person should know."""

    frames: Sequence[int]
    step: int
    note: str | None = None

    @property
    def searched(self) -> Sequence[int]:
        """Those in which faces are searched."""
        return self.frames[::DETECT_EVERY]


def keep_frames(frame_count: int, rate: float | None) -> KeptFrames:
    """About 15 frames a second of a video of `frame_count` frames, `rate` a second (None where it does not say).

    The published rule keeps no frame of a video below 8 a second; here all of them are kept.
    """
    note = None
    if rate is None:
        note = f"it does not say how many frames it shows a second: taken as {_ASSUMED_RATE}"
    step = round(int(_ASSUMED_RATE if rate is None else rate) / RATE)
    if step == 0:
        step, note = 1, f"it shows {rate:.3g} frames a second: every one is kept (the published system kept none)"
    return KeptFrames(frames=range(0, frame_count, step), step=step, note=note)


def find_tracks(detections: Iterable[Detections]) -> list[FrameTrack]:
    """Faces that were followed long enough, at every kept frame from their first detection to their last.

    `detections` are those of the searched frames, in order.
    """
    return [interpolate(track, DETECT_EVERY) for track in track_faces(detections, SHORTEST_TRACK)]


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """A face image for a frame model, or seven for the sequence model, and where they come from.

    `track` is the track's place among those of the video, `frames` are numbers of kept frames, `corners` is the
    rectangle cut out of each, in pixels of the full frame; `flip` says that it is mirrored.
    """

    role: str
    track: int
    frames: range
    corners: Corners
    flip: bool


def plan_inputs(tracks: Sequence[FrameTrack], width: int, height: int) -> list[ModelInput]:
    """What all models see of the tracks of a video of `width` by `height` pixels.

    Faces of which nothing lies inside the frame are left out. (The published system failed on such.)
    """
    planned = []
    for number, track in enumerate(tracks):
        for role, first, length, boxed, flip in [*_sequences(len(track.bboxes)), *_faces(len(track.bboxes))]:
            corners = enlarged_box(track.bboxes[boxed], width, height)
            if not is_empty(corners):
                start = track.start + first
                planned.append(
                    ModelInput(role=role, track=number, frames=range(start, start + length), corners=corners, flip=flip)
                )
    return planned


def _sequences(length: int) -> Iterator[tuple[str, int, int, int, bool]]:
    """Role, first frame, frames, the frame whose box counts, and flip; frames counted from the track's first."""
    for number, first in enumerate(range(0, length - SEQUENCE + 1, _SEQUENCE_STEP)):
        yield "seq", first, SEQUENCE, first + SEQUENCE // 2, number % 2 == 0


def _faces(length: int) -> Iterator[tuple[str, int, int, int, bool]]:
    """The same of single frames: each goes to one model, mirrored or not, by turns."""
    for number, frame in enumerate(range(0, length, _FACE_STEP)):
        yield "large_crop" if number % 4 < 2 else "re", frame, 1, frame, number % 2 == 0


class InputMaker:
    """Makes the images of planned inputs from frames that are given one by one.

    `kept_frames` are the indices of the kept frames in the video, `source_frames` those of them that are needed,
    ascending. Raises ValueError for inputs from frames behind the last that is kept.
    """

    def __init__(self, planned: Iterable[ModelInput], kept_frames: Sequence[int]):
        self._wanted: defaultdict[int, list[ModelInput]] = defaultdict(list)
        for model_input in planned:
            for number in model_input.frames:
                self._wanted[number].append(model_input)
        if self._wanted and max(self._wanted) >= len(kept_frames):
            raise ValueError(f"faces in frame {max(self._wanted)} of {len(kept_frames)} that are kept")
        self._numbers = {kept_frames[number]: number for number in sorted(self._wanted)}
        self._unfinished: dict[ModelInput, list[np.ndarray]] = {}
        self.source_frames = list(self._numbers)

    def feed(self, index: int, frame: np.ndarray) -> Iterator[tuple[ModelInput, np.ndarray]]:
        """Inputs that frame `index` of the video, uint8 RGB (h, w, 3), completes: uint8 (224, 192, 3), for the sequence
        model (7, 224, 192, 3).

        Frames must come in ascending order. A sequence of which one does not come, or changes its size so that nothing
        is left of the face, is left out, as is a single face.
        """
        number = self._numbers[index]
        for model_input in self._wanted.pop(number):
            images = self._unfinished.pop(model_input, [])
            image = _image(frame, model_input)
            if image is None or len(images) != number - model_input.frames.start:
                continue
            images.append(image)
            if len(images) < len(model_input.frames):
                self._unfinished[model_input] = images
            else:
                yield model_input, np.stack(images) if model_input.role == "seq" else image


def _image(frame: np.ndarray, model_input: ModelInput) -> np.ndarray | None:
    x1, y1, x2, y2 = model_input.corners
    crop = frame[y1:y2, x1:x2]
    if not crop.size:
        return None
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    made = IMAGES[model_input.role](crop)
    image[:] = made[:, ::-1] if model_input.flip else made
    return image
