"""What inference looks at: tracks of faces in the first frames of a video, and the pictures of each track.

For each chunk of a video, frames are sampled and searched (`detection_images`, `find_tracks`), which gives a plan; then
its frames are read once, in ascending order (`FacePictures`), and none of them is kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from systems.medics.clips import SIZE, cut_face
from systems.medics.settings import LONGEST_SIDE, MTCNN_FACTOR, Attempt, Settings
from systems.medics.squares import first_and_last_cells, squares_of
from systems.medics.volumes import Component, cell_boxes, components_of, fill_missing_rows, volume_of


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The faces of one frame: `boxes` float (n, 4), x1 y1 x2 y2 in pixels of the image searched; `probabilities` (n,).
    Of faces that overlap the later one's probability counts."""

    boxes: np.ndarray
    probabilities: np.ndarray


# images uint8 RGB (h, w, 3), thresholds and factor of MTCNN (min_face_size 20, every face kept) to faces in its order
Detector = Callable[[Sequence[np.ndarray], tuple[float, float, float], float], Sequence[Detections]]


@dataclass(frozen=True, kw_only=True)
class Track:
    """A face of one chunk of a video.

    `video_frames`: its frames, counted from the video's beginning. `rows` and `cols`: first and last pixel of the full
    frame, both included, of its clip. `squares` int64 (frames, 4), x1 y1 x2 y2 in the full frame, right and lower edge
    not included: what the 2D network sees of its first frames. `confidence`: the mean of the detector's probabilities.
    """

    video_frames: range
    rows: tuple[int, int]
    cols: tuple[int, int]
    squares: np.ndarray
    confidence: float


def chunks_of(frame_count: int, settings: Settings) -> list[range]:
    """The parts of a video that are scored, each by itself: the first frames, or `whole_video` all, part after part."""
    starts = range(0, frame_count, settings.frame_limit)
    chunks = [range(start, min(start + settings.frame_limit, frame_count)) for start in starts]
    return chunks if settings.whole_video else chunks[:1]


def sampled_frames(chunk: range, settings: Settings) -> range:
    """The frames of a chunk in which faces are searched: its rows."""
    return chunk[:: settings.frame_step]


def detection_images(frame: np.ndarray, settings: Settings) -> dict[float, np.ndarray]:
    """A frame, uint8 RGB (height, width, 3), at the size of each attempt, by its scale; all that is kept of it."""
    height, width = frame.shape[:2]
    images = {}
    for scale in {attempt.scale for attempt in settings.attempts}:
        ratio = _ratio(scale, width, height)
        size = max(int(width * ratio), 1), max(int(height * ratio), 1)
        images[scale] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return images


def find_tracks(
    images: Sequence[dict[float, np.ndarray]],
    chunk: range,
    detect: Detector,
    *,
    width: int,
    height: int,
    settings: Settings,
    tell: Callable[[str], None],
) -> list[Track]:
    """The tracks of a chunk, the surest first, by the first attempt that finds any; none where all fail, which `tell`
    is told.

    `images`: of each sampled frame of the chunk, in order (`detection_images`). `width` and `height` are the frames'.
    """
    found = 0
    for attempt in settings.attempts:
        searched = [each[attempt.scale] for each in images]
        detections = detect(searched, attempt.thresholds, MTCNN_FACTOR)
        found += sum(len(each.boxes) for each in detections)
        tracks = plan_tracks(detections, chunk, attempt, width=width, height=height, settings=settings)
        if tracks:
            return tracks
    why = f"{found} boxes, but no face in {settings.least_rows} sampled frames in sequence" if found else "no face"
    tell(f"frames {chunk.start} to {chunk.stop - 1}: {why}; they are not scored")
    return []


def plan_tracks(
    detections: Sequence[Detections], chunk: range, attempt: Attempt, *, width: int, height: int, settings: Settings
) -> list[Track]:
    """The tracks that the detections of one attempt, one for each sampled frame of the chunk, make; surest first."""
    ratio = _ratio(attempt.scale, width, height)
    small_width, small_height = int(width * ratio), int(height * ratio)
    cells = [cell_boxes(each.boxes, 1, np.trunc) for each in detections]
    volume = volume_of(cells, small_height, small_width)
    fill_missing_rows(volume)
    probabilities = np.zeros(volume.shape)
    for row, boxes, each in zip(probabilities, cells, detections, strict=True):
        for (x1, y1, x2, y2), probability in zip(boxes, each.probabilities, strict=True):
            row[y1:y2, x1:x2] = probability
    tracks = []
    for component in components_of(volume):
        if len(component.rows) >= settings.least_rows:
            squares = squares_of(first_and_last_cells(component), width=small_width, height=small_height)
            confidence = float(probabilities[component.bounds][component.mask].mean())
            tracks.append(_track(component, chunk, squares, confidence, 1 / ratio, settings))
    tracks.sort(key=lambda track: -track.confidence)
    return tracks[: attempt.most_faces]


class FacePictures:
    """The pictures of a chunk's tracks, cut from frames given one by one in ascending order.

    `clips` are uint8 RGB (t, 256, 256, 3), one for each track; `squares` likewise, of its first frames. Both are
    shorter where frames could not be read.
    """

    def __init__(self, tracks: Sequence[Track]):
        self.tracks = list(tracks)
        self._clips: list[list[np.ndarray]] = [[] for _ in self.tracks]
        self._squares: list[list[np.ndarray]] = [[] for _ in self.tracks]

    @property
    def wanted(self) -> list[int]:
        """The frames that are needed, ascending, counted from the video's beginning."""
        return sorted({index for track in self.tracks for index in track.video_frames})

    def add(self, index: int, frame: np.ndarray) -> None:
        """`frame` is uint8 RGB (height, width, 3), of the size that the tracks were planned for."""
        for track, clip, squares in zip(self.tracks, self._clips, self._squares, strict=True):
            if index in track.video_frames:
                clip.append(cut_face(frame, track.rows, track.cols))
                place = index - track.video_frames.start
                if place < len(track.squares):
                    x1, y1, x2, y2 = track.squares[place]
                    squares.append(cv2.resize(frame[y1:y2, x1:x2], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))

    def add_all(self, frames: Iterable[tuple[int, np.ndarray]]) -> "FacePictures":
        for index, frame in frames:
            self.add(index, frame)
        return self

    @property
    def clips(self) -> list[np.ndarray]:
        return [_stacked(pictures) for pictures in self._clips]

    @property
    def squares(self) -> list[np.ndarray]:
        return [_stacked(pictures) for pictures in self._squares]


def _track(
    component: Component, chunk: range, squares: np.ndarray, confidence: float, enlarged: float, settings: Settings
) -> Track:
    rows, ys, xs = component.bounds
    # as published: one frame short, and cut where the frame of the last cell begins
    frames = chunk[settings.frame_step * rows.start : settings.frame_step * rows.stop - 1]
    in_frame = (squares[: settings.frames_2d] * enlarged).astype(np.int64)
    in_frame[:, 2:] = np.maximum(in_frame[:, 2:], in_frame[:, :2] + 1)  # frames may be smaller than what is searched
    return Track(
        video_frames=frames,
        rows=(int(ys.start * enlarged), int((ys.stop - 1) * enlarged)),
        cols=(int(xs.start * enlarged), int((xs.stop - 1) * enlarged)),
        squares=in_frame,
        confidence=confidence,
    )


def _ratio(scale: float, width: int, height: int) -> float:
    return scale * LONGEST_SIDE / max(width, height)


def _stacked(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack(pictures) if pictures else np.zeros((0, SIZE, SIZE, 3), np.uint8)
