"""From a video to the face images that a model looks at."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from faces.crop import crop_face
from faces.face_detector import FacenetDetector
from faces.fit import isotropically_resize_image, put_to_center
from faces.sampling import evenly_spaced
from faces.search import search
from faces.video import Frame, VideoError, VideoFrames, VideoInfo, iter_frames
from runtime.memory import MemoryBudget, default_budget

THRESHOLDS = (0.7, 0.8, 0.8)  # MTCNN's, at inference

ReadResult = tuple[np.ndarray, list[int]] | Iterable[Frame] | None


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face of a video: where it was found, and its crop (uint8 RGB, any size)."""

    frame: int
    number: int  # its place among the faces of the frame, largest first
    bbox: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the frame, without the margin
    score: float  # the detector's
    crop: np.ndarray | None

    def without_crop(self) -> "Face":
        """The face without its pixels, which keep the whole frame in memory."""
        return replace(self, crop=None)


class FoundFaces(Iterator[tuple[int, tuple[int, int], list[Face]]]):
    """(frame index, (frame width, height), faces) of a video's frames, as they are searched. `info` is what is known of
    the video, complete once the first has come. `close` gives back what it holds."""

    def __init__(self, info: VideoInfo, frames: Iterator):
        self.info = info
        self.close = frames.close
        self._frames = frames

    def __next__(self) -> tuple[int, tuple[int, int], list[Face]]:
        return next(self._frames)


class VideoReader:
    """Reads frames of a video as RGB uint8 arrays; the reference's names and results."""

    def __init__(self, verbose: bool = True):
        self.verbose = verbose

    def read_frames(self, path: str, num_frames: int) -> tuple[np.ndarray, list[int]] | None:
        """`num_frames` evenly spaced frames (n, h, w, 3) and their indices; None if nothing can be read."""
        return self._collect(path, lambda count: evenly_spaced(count, num_frames))

    def read_frames_at_indices(self, path: str, frame_idxs: Iterable[int]) -> tuple[np.ndarray, list[int]] | None:
        """The frames at ascending `frame_idxs`, without those that are not there; None if nothing can be read."""
        chosen = list(frame_idxs)
        return self._collect(path, lambda count: chosen)

    def read_frame_at_index(self, path: str, frame_idx: int) -> tuple[np.ndarray, list[int]] | None:
        """One frame, as (1, h, w, 3), and its index."""
        return self.read_frames_at_indices(path, [frame_idx])

    def read_middle_frame(self, path: str) -> tuple[np.ndarray, list[int]] | None:
        """The frame in the middle, as (1, h, w, 3), and its index."""
        return self._collect(path, lambda count: [count // 2])

    def _collect(self, path: str, select: Callable[[int], list[int]]) -> tuple[np.ndarray, list[int]] | None:
        try:
            indices, frames = zip(*iter_frames(path, select), strict=True)
            if any(frame.shape != frames[0].shape for frame in frames):
                raise VideoError(path, "changes the size of its frames; read it with faces.video.iter_frames")
        except VideoError as error:
            if self.verbose:
                print(error)
            return None
        return np.stack(frames), list(indices)


class FaceExtractor:
    """Finds and cuts out the faces of videos.

    `video_read_fn` takes a path and returns (frames, indices) as `VideoReader.read_frames` does, or an iterable of
    (index, frame), of which only a few are then held at a time, or None for a video that can't be read. `detector`
    defaults to MTCNN at the reference's inference thresholds on the CPU; it gets `frames_per_batch` frames at a time,
    fewer where they are large: all threads that use the extractor stay within `memory`, by estimate, or one of them
    reads one video, frame by frame.
    """

    def __init__(
        self,
        video_read_fn: Callable[[str], ReadResult],
        detector: FacenetDetector | None = None,
        frames_per_batch: int | None = None,
        memory: MemoryBudget | None = None,
    ):
        self.video_read_fn = video_read_fn
        self.memory = memory or MemoryBudget(default_budget())
        self.detector = detector if detector is not None else FacenetDetector(thresholds=THRESHOLDS)
        self.frames_per_batch = frames_per_batch or self.detector.best_batch

    def iter_frames_with_faces(self, path: str) -> FoundFaces:
        """Yield (frame index, (frame width, height), faces) for each frame read. Raises VideoError."""
        result = self.video_read_fn(path)
        if result is None:
            raise VideoError(path, "can't be read")
        info = result.look() if isinstance(result, VideoFrames) else VideoInfo()
        frames = zip(result[1], result[0], strict=True) if isinstance(result, tuple) else result
        return FoundFaces(info, self._find(frames, info.width * info.height))

    def _find(self, frames: Iterable[Frame], pixels: int) -> Iterator[tuple[int, tuple[int, int], list[Face]]]:
        searched = search(frames, self.detector.detect, pixels=pixels, most=self.frames_per_batch, memory=self.memory)
        for index, frame, found in searched:
            faces = []
            for number, (bbox, score) in enumerate(zip(found.bboxes, found.scores, strict=True)):
                crop = crop_face(frame, bbox)
                if crop is not None:
                    corners = tuple(int(value) for value in bbox)
                    faces.append(Face(frame=index, number=number, bbox=corners, score=float(score), crop=crop))
            yield index, (frame.shape[1], frame.shape[0]), faces

    def process_videos(self, input_dir: str, filenames: list[str], video_idxs: Iterable[int]) -> list[dict]:
        """The reference's result: a dict for each frame with faces: video_idx, frame_idx, frame_w, frame_h,
        faces (RGB crops), scores (the detector's). Videos that can't be read are left out."""
        results = []
        for video_idx in video_idxs:
            path = os.path.join(input_dir, filenames[video_idx])
            try:
                for frame_idx, (width, height), faces in self.iter_frames_with_faces(path):
                    if faces:
                        results.append(
                            {
                                "video_idx": video_idx,
                                "frame_idx": frame_idx,
                                "frame_w": width,
                                "frame_h": height,
                                "faces": [face.crop.copy() for face in faces],
                                "scores": [face.score for face in faces],
                            }
                        )
            except VideoError as error:
                print(error)
        return results

    def process_video(self, video_path: str) -> list[dict]:
        """`process_videos` for one file."""
        return self.process_videos(os.path.dirname(video_path), [os.path.basename(video_path)], [0])


def prepare_face(crop: np.ndarray, size: int) -> np.ndarray:
    """A crop as a model sees it: uint8 RGB (size, size, 3)."""
    return put_to_center(isotropically_resize_image(crop, size), size)


def compress_face(image: np.ndarray, quality: int = 90) -> np.ndarray:
    """An image after JPEG compression; the reference's `apply_compression`."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
