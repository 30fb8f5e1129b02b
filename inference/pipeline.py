"""Many videos at once: some threads find faces, others score them, in batches that span videos.

    videos -> [workers: read, detect, crop] -> faces -> [lanes: one batch at a time through every model] -> results

The queue of faces is bounded, so memory does not grow with the number of videos: workers wait when scoring is behind.
Every thread computes on one core, without barriers: several threads inside one operation (OpenMP) collapse as soon as
another thread needs a core too.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from faces.crop import crop_face
from faces.video import VideoError, VideoInfo, iter_frames
from inference.ensemble import Ensemble
from runtime.errors import DeviceError
from runtime.files import file_identity
from systems.seferbekov.faces import Face, FaceExtractor, FoundFaces, compress_face, prepare_face
from systems.seferbekov.sampling import spread_in_time
from systems.seferbekov.strategy import Strategy

UNKNOWN_SCORE = 0.5  # of a video without a face, or that can't be read

OK = "ok"
NO_FACE = "no_face"  # it was read, and no face was found
UNREADABLE = "unreadable"  # the file is missing, no video, damaged, not permitted
FAILED = "failed"  # something else went wrong

_STOP_SECONDS = 5
_FACES_AHEAD, _BYTES_AHEAD = 64, 28 * 10**6  # that are found and not yet in a batch, at most


@dataclass(kw_only=True)
class VideoResult:
    """What became of one video. `score` is 0.5 unless `status` is "ok"."""

    video: str
    status: str
    score: float = UNKNOWN_SCORE
    model_scores: list[float] = field(default_factory=list)
    frames: int = 0  # that were read
    frames_wanted: int = 0  # how many of those that it has were to be read; 0 where that is not known
    at_face_limit: bool = False  # the limit of faces left some out
    last_frame: int | None = None  # the index of the last frame that was looked at
    left_out: int = 0  # faces found in the frames that were looked at, and not scored
    notes: list[str] = field(default_factory=list)  # what a person should know of how the file is read
    error: str | None = None
    identity: tuple[int, int] | None = None  # of the file that was read: bytes, time of change in ns
    faces: list["ScoredFace"] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ScoredFace:
    """A face as in `faces.Face`, without its pixels, and its probability "fake" by each model."""

    frame: int
    face: int
    bbox: tuple[int, int, int, int]
    detector_score: float
    probabilities: list[float]


@dataclass(kw_only=True)
class _Video:
    """A video on its way: faces are added by one worker, scored by any lane."""

    name: str
    identity: tuple[int, int] | None
    faces: list[Face] = field(default_factory=list)
    probabilities: dict[int, np.ndarray | None] = field(default_factory=dict)  # by place
    info: VideoInfo = field(default_factory=VideoInfo)
    frames: int = 0
    last_frame: int | None = None
    left_out: int = 0
    unscored: int = 0
    is_read: bool = False
    reported: bool = False


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Some faces of a video, from `place` on, at each size that the models want."""

    video: _Video
    place: int
    images: dict[int, list[np.ndarray]]

    def __len__(self) -> int:
        return len(next(iter(self.images.values())))


class _Stopped(Exception):
    """The pipeline is being torn down."""


class Pipeline:
    """Scores videos. One pipeline may `run` several times, one run at a time.

    `max_faces` bounds the faces of one video that are scored, in reading order: frames after the last of them are not
    looked at. With `spread_faces` all frames are, and as many faces are chosen evenly in time; their frames are read a
    second time. `workers` threads read and detect. `apply_compression` scores faces after JPEG compression.
    """

    def __init__(
        self,
        extractor: FaceExtractor,
        ensemble: Ensemble,
        strategy: Strategy,
        *,
        max_faces: int = 127,
        spread_faces: bool = False,
        workers: int = 1,
        apply_compression: bool = False,
    ):
        self.extractor = extractor
        self.ensemble = ensemble
        self.strategy = strategy
        self.max_faces = max_faces
        self.spread_faces = spread_faces
        self.workers = workers
        self.apply_compression = apply_compression

    def run(self, videos: Iterable[tuple[str, str]]) -> Iterator[VideoResult]:
        """Yield the result of each (name, path), as they are finished, in any order. `videos` is drawn from lazily, by
        one thread at a time. An exception in `videos` itself ends the run and is raised here, as is the DeviceError of
        a GPU that fails; what was yielded before holds."""
        run = _Run(self, iter(videos))
        try:
            yield from run.results()
        finally:
            run.stop()


class _Run:
    """The threads of one run and what they share."""

    def __init__(self, pipeline: Pipeline, videos: Iterator[tuple[str, str]]):
        self.pipeline = pipeline
        self.videos = videos
        self.drawing = threading.Lock()
        ensemble = pipeline.ensemble
        face_bytes = sum(3 * size**2 for size in ensemble.sizes)
        ahead = min(_FACES_AHEAD, _BYTES_AHEAD // face_bytes) + ensemble.batch_size * (ensemble.lanes + 1)
        self.groups: queue.Queue[_Group | None] = queue.Queue(maxsize=ahead // ensemble.group)
        self.batching = threading.Lock()
        self.counting = threading.Lock()
        self.finished: queue.Queue[VideoResult | BaseException | None] = queue.Queue()
        self.stopping = threading.Event()
        self.working = pipeline.workers
        self.scoring = ensemble.lanes
        targets = [self._work] * pipeline.workers + [self._score] * ensemble.lanes
        self.threads = [threading.Thread(target=self._guard, args=(target,), daemon=True) for target in targets]
        self.threads_before = torch.get_num_threads(), cv2.getNumThreads()
        cv2.setNumThreads(1)
        for thread in self.threads:
            thread.start()

    def results(self) -> Iterator[VideoResult]:
        while (result := self.finished.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result

    def stop(self) -> None:
        self.stopping.set()
        patience = time.monotonic() + _STOP_SECONDS
        for thread in self.threads:  # those in the middle of a long decode end with the process
            thread.join(max(0, patience - time.monotonic()))
        torch.set_num_threads(self.threads_before[0])
        cv2.setNumThreads(self.threads_before[1])

    def _guard(self, target: Callable[[], None]) -> None:
        """An error outside any one video (the list of videos, the GPU, a defect of the pipeline) ends the run."""
        torch.set_num_threads(1)  # for this thread
        try:
            target()
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001  handed to the caller of `results`
            self.finished.put(error)

    # workers

    def _work(self) -> None:
        while (drawn := self._draw()) is not None:
            self._read(*drawn)
        with self.counting:
            self.working -= 1
            last = not self.working
        if last:
            self._put(None)

    def _draw(self) -> tuple[str, str] | None:
        with self.drawing:
            return None if self.stopping.is_set() else next(self.videos, None)

    def _read(self, name: str, path: str) -> None:
        """Find the faces of one video and hand them on as they come. An error in a video ends only that video."""
        video = _Video(name=name, identity=file_identity(path))
        try:
            with closing(self.pipeline.extractor.iter_frames_with_faces(path)) as frames:
                video.info = getattr(frames, "info", video.info)
                if self.pipeline.spread_faces:
                    self._score_spread(video, path, frames)
                else:
                    self._score_in_order(video, frames)
        except VideoError as error:
            self._end(video, UNREADABLE, str(error.reason))
        except (_Stopped, DeviceError):
            raise
        except Exception as error:  # noqa: BLE001  any defect here is reported with its traceback in the result
            self._end(video, FAILED, _describe(error))
        with self.counting:
            video.is_read = True
            complete = not video.unscored
        if complete:
            self._complete(video)

    def _score_in_order(self, video: _Video, frames: FoundFaces) -> None:
        size, most = self.pipeline.ensemble.group, self.pipeline.max_faces
        crops: list[np.ndarray] = []
        for faces in self._looked_at(video, frames):
            room = most - len(video.faces)
            video.left_out += len(faces[room:])
            for face in faces[:room]:
                video.faces.append(face.without_crop())
                crops.append(face.crop)
                if len(crops) == size:
                    self._hand_on(video, crops)
                    crops = []
            if len(video.faces) == most:
                break
        if crops:
            self._hand_on(video, crops)

    def _score_spread(self, video: _Video, path: str, frames: FoundFaces) -> None:
        """No pixels are kept while frames are searched, so that memory does not grow with the number of faces."""
        found = [face.without_crop() for faces in self._looked_at(video, frames) for face in faces]
        chosen = spread_in_time([face.frame for face in found], self.pipeline.max_faces)
        video.left_out = len(found) - len(chosen)
        by_frame: dict[int, list[Face]] = {}
        for place in chosen:
            by_frame.setdefault(found[place].frame, []).append(found[place])
        size = self.pipeline.ensemble.group
        crops: list[np.ndarray] = []
        for index, frame in iter_frames(path, lambda count: by_frame):
            if self.stopping.is_set():
                raise _Stopped
            for face in by_frame[index]:
                video.faces.append(face)
                crops.append(crop_face(frame, face.bbox))
                if len(crops) == size:
                    self._hand_on(video, crops)
                    crops = []
        if crops:
            self._hand_on(video, crops)

    def _looked_at(self, video: _Video, frames: FoundFaces) -> Iterator[list[Face]]:
        """The faces of each frame; the video knows which was the last."""
        for index, _, faces in frames:
            if self.stopping.is_set():
                raise _Stopped
            video.frames += 1
            video.last_frame = index
            yield faces

    def _hand_on(self, video: _Video, crops: list[np.ndarray]) -> None:
        sizes = self.pipeline.ensemble.sizes
        images = {size: [self._prepare(crop, size) for crop in crops] for size in sizes}
        with self.counting:
            video.unscored += len(crops)
        self._put(_Group(video=video, place=len(video.faces) - len(crops), images=images))

    def _prepare(self, crop: np.ndarray, size: int) -> np.ndarray:
        image = prepare_face(crop, size)
        return compress_face(image) if self.pipeline.apply_compression else image

    def _put(self, group: _Group | None) -> None:
        while True:
            try:
                return self.groups.put(group, timeout=0.2)
            except queue.Full:
                if self.stopping.is_set():
                    raise _Stopped from None

    # lanes

    def _score(self) -> None:
        while batch := self._gather():
            try:
                sizes = self.pipeline.ensemble.sizes
                images = {size: [image for group in batch for image in group.images[size]] for size in sizes}
                rows = list(self.pipeline.ensemble.score(images))
            except DeviceError:
                raise
            except Exception as error:  # noqa: BLE001  the videos concerned are reported as failed
                for group in batch:
                    self._end(group.video, FAILED, _describe(error))
                rows = [None] * sum(map(len, batch))
            for group in batch:
                self._take(group, rows[: len(group)])
                del rows[: len(group)]
        with self.counting:
            self.scoring -= 1
            last = not self.scoring
        if last:
            self.finished.put(None)

    def _gather(self) -> list[_Group]:
        """A full batch, or what is left when all videos are read: one lane waits, the others score meanwhile."""
        batch = []
        room = self.pipeline.ensemble.batch_size // self.pipeline.ensemble.group
        with self.batching:
            while len(batch) < room:
                group = self._get()
                if group is None:
                    self._put(None)  # for the other lanes, and for the next call
                    break
                batch.append(group)
        return batch

    def _get(self) -> _Group | None:
        while True:
            try:
                return self.groups.get(timeout=0.2)
            except queue.Empty:
                if self.stopping.is_set():
                    raise _Stopped from None

    def _take(self, group: _Group, rows: list[np.ndarray | None]) -> None:
        video = group.video
        with self.counting:
            video.probabilities.update(enumerate(rows, start=group.place))
            video.unscored -= len(group)
            complete = video.is_read and not video.unscored
        if complete:
            self._complete(video)

    # results

    def _end(self, video: _Video, status: str, error: str) -> None:
        """Report a video before its time; what still comes for it is dropped."""
        with self.counting:
            first, video.reported = not video.reported, True
        if first:
            self.finished.put(self._blank(video, status, error))

    def _complete(self, video: _Video) -> None:
        with self.counting:
            first, video.reported = not video.reported, True
        if first:
            try:
                result = self._result(video)
            except Exception as error:  # noqa: BLE001  a strategy that fails on this video
                result = self._blank(video, FAILED, _describe(error))
            self.finished.put(result)

    def _blank(self, video: _Video, status: str, error: str | None = None) -> VideoResult:
        return VideoResult(
            video=video.name,
            status=status,
            frames=video.frames,
            frames_wanted=video.info.wanted,
            last_frame=video.last_frame,
            left_out=video.left_out,
            notes=video.info.notes,
            error=error,
            identity=video.identity,
        )

    def _result(self, video: _Video) -> VideoResult:
        result = self._blank(video, NO_FACE)
        if not video.faces:
            return result
        probabilities = np.stack([video.probabilities[place] for place in range(len(video.faces))])
        if not np.isfinite(probabilities).all():
            result.status, result.error = (
                FAILED,
                "a model gave a score that is not a number; if this is not fp32 yet, try --precision fp32",
            )
            return result
        result.status = OK
        unseen = not self.pipeline.spread_faces and video.frames != video.info.wanted
        result.at_face_limit = video.left_out > 0 or (unseen and len(video.faces) == self.pipeline.max_faces)
        result.faces = [
            ScoredFace(
                frame=face.frame,
                face=face.number,
                bbox=face.bbox,
                detector_score=face.score,
                probabilities=row.tolist(),
            )
            for face, row in zip(video.faces, probabilities, strict=True)
        ]
        apply_strategy(result, self.pipeline.strategy)
        return result


def apply_strategy(result: VideoResult, strategy: Strategy) -> None:
    """Set the scores of a video from those of its faces."""
    probabilities = np.array([face.probabilities for face in result.faces], np.float32)
    result.model_scores = [float(strategy(column)) for column in probabilities.T]
    result.score = float(np.mean(result.model_scores))


def _describe(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).strip()
