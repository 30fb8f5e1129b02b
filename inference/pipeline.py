"""Many videos at once: some threads find what is scored, others score it, in batches that span videos.

    videos -> [workers: read, detect, cut out] -> samples -> [lanes: one batch at a time through the models] -> results

The queue of samples is bounded in bytes, so memory does not grow with the number of videos, or the length of clips:
workers wait when scoring is behind. Every thread computes on one core, without barriers: several threads inside one
operation (OpenMP) collapse as soon as another thread needs a core too.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch

from faces.video import VideoError
from inference.byte_queue import ByteQueue
from inference.video_facts import read_facts
from runtime.errors import DeviceError
from runtime.files import file_identity
from systems.sample import Account, GiveVerdict, Models, Sample, Sampler, ScoredFace, Stopped

UNKNOWN_SCORE = 0.5  # of a video without a face, or that can't be read

OK = "ok"
NO_FACE = "no_face"  # it was read, and no face was found
UNREADABLE = "unreadable"  # the file is missing, no video, damaged, not permitted
FAILED = "failed"  # something else went wrong

_STOP_SECONDS = 5
_BYTES_WAITING = 2**28  # of samples for batches of their kind, of which clips of many lengths make many
_AHEAD, _BYTES_AHEAD = 64, 28 * 10**6  # samples that are found, at most, beside those of the batches that are next


@dataclass(kw_only=True)
class VideoResult:
    """What became of one video. `score` is 0.5 unless `status` is "ok". The rest as in `systems.sample.Account`."""

    video: str
    status: str
    score: float = UNKNOWN_SCORE
    model_scores: list[float] = field(default_factory=list)
    frames: int = 0
    frames_wanted: int = 0
    at_face_limit: bool = False
    last_frame: int | None = None
    left_out: int = 0
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    identity: tuple[int, int] | None = None  # of the file that was read: bytes, time of change in ns
    source: dict[str, Any] = field(default_factory=dict)  # how it was read (video_facts.py)
    environment: dict[str, Any] = field(default_factory=dict)  # of the process that scored it (machine_facts.py)
    faces: list[ScoredFace] = field(default_factory=list)


@dataclass(kw_only=True)
class _Video:
    """A video on its way: samples are added by one worker, scored by any lane."""

    name: str
    identity: tuple[int, int] | None
    account: Account
    samples: list[Sample] = field(default_factory=list)
    probabilities: dict[int, np.ndarray | None] = field(default_factory=dict)  # by place
    unscored: int = 0
    is_read: bool = False
    reported: bool = False


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Some samples of a video, of one kind, at these places."""

    video: _Video
    kind: Hashable
    places: list[int]
    prepared: list[Any]
    size: int  # bytes


class Pipeline:
    """Scores videos. One pipeline may `run` several times, one run at a time. `workers` threads read and detect."""

    def __init__(self, sampler: Sampler, models: Models, verdict: GiveVerdict, *, workers: int = 1):
        self.sampler = sampler
        self.models = models
        self.verdict = verdict
        self.workers = workers

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
        models = pipeline.models
        next_batches = models.batch_size * (models.lanes + 1)
        self.groups: ByteQueue[_Group] = ByteQueue(
            items=(_AHEAD + next_batches) // models.group,
            most_bytes=_BYTES_AHEAD,
            wanted=next_batches // models.group,
        )
        self.batching = threading.Lock()
        self.waiting: dict[Hashable, list[_Group]] = {}  # by kind, for a batch to be full
        self.counting = threading.Lock()
        self.finished: queue.Queue[VideoResult | BaseException | None] = queue.Queue()
        self.stopping = self.groups.stopping
        self.working = pipeline.workers
        self.scoring = models.lanes
        targets = [self._work] * pipeline.workers + [self._score] * models.lanes
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
        self.groups.stop()
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
        except Stopped:
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
            self.groups.end()

    def _draw(self) -> tuple[str, str] | None:
        with self.drawing:
            return None if self.stopping.is_set() else next(self.videos, None)

    def _read(self, name: str, path: str) -> None:
        """Find the samples of one video and hand them on as they come. An error in a video ends only that video."""
        video = _Video(name=name, identity=file_identity(path), account=Account(stopping=self.stopping))
        try:
            with closing(self.pipeline.sampler.samples(path, video.account)) as samples:
                self._hand_on_all(video, samples)
        except VideoError as error:
            self._end(video, UNREADABLE, str(error.reason))
        except (Stopped, DeviceError):
            raise
        except Exception as error:  # noqa: BLE001  any defect here is reported with its traceback in the result
            self._end(video, FAILED, _describe(error))
        with self.counting:
            video.is_read = True
            complete = not video.unscored
        if complete:
            self._complete(video)

    def _hand_on_all(self, video: _Video, samples: Iterator[Sample]) -> None:
        models = self.pipeline.models
        begun: dict[Hashable, list[int]] = {}  # places of samples, by kind, until there are as many as a group has
        prepared: dict[int, Any] = {}
        for sample in samples:
            if self.stopping.is_set():
                raise Stopped
            kind, place = models.kind(sample), len(video.samples)
            prepared[place] = models.prepare(sample)
            video.samples.append(sample.without_pixels())
            begun.setdefault(kind, []).append(place)
            if len(begun[kind]) == models.group:
                places = begun.pop(kind)
                self._hand_on(video, kind, places, [prepared.pop(place) for place in places])
        for kind, places in begun.items():
            self._hand_on(video, kind, places, [prepared.pop(place) for place in places])

    def _hand_on(self, video: _Video, kind: Hashable, places: list[int], prepared: list[Any]) -> None:
        with self.counting:
            video.unscored += len(places)
        size = sum(map(self.pipeline.models.size_of, prepared))
        self.groups.put(_Group(video=video, kind=kind, places=places, prepared=prepared, size=size), size)

    # lanes

    def _score(self) -> None:
        while batch := self._gather():
            try:
                prepared = [each for group in batch for each in group.prepared]
                rows = list(self.pipeline.models.score(batch[0].kind, prepared))
            except DeviceError:
                raise
            except Exception as error:  # noqa: BLE001  the videos concerned are reported as failed
                for group in batch:
                    self._end(group.video, FAILED, _describe(error))
                rows = [None] * sum(len(group.places) for group in batch)
            for group in batch:
                self._take(group, rows[: len(group.places)])
                del rows[: len(group.places)]
        with self.counting:
            self.scoring -= 1
            last = not self.scoring
        if last:
            self.finished.put(None)

    def _gather(self) -> list[_Group]:
        """A full batch of one kind; one that is not full where many kinds wait for more of theirs, and when all videos
        are read; empty when nothing is left. One lane waits, the others score meanwhile."""
        room = self.pipeline.models.batch_size // self.pipeline.models.group
        with self.batching:
            while group := self.groups.get():
                waiting = self.waiting.setdefault(group.kind, [])
                waiting.append(group)
                if len(waiting) == room:
                    return self.waiting.pop(group.kind)
                if sum(each.size for groups in self.waiting.values() for each in groups) > _BYTES_WAITING:
                    break
            return self.waiting.pop(next(iter(self.waiting))) if self.waiting else []

    def _take(self, group: _Group, rows: list[np.ndarray | None]) -> None:
        video = group.video
        with self.counting:
            video.probabilities.update(zip(group.places, rows, strict=True))
            video.unscored -= len(group.places)
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
        result = VideoResult(video=video.name, status=status, error=error, identity=video.identity)
        for name in ("frames", "frames_wanted", "last_frame", "left_out", "notes"):
            setattr(result, name, getattr(video.account, name))
        result.source = read_facts(video.account, video.samples)
        return result

    def _result(self, video: _Video) -> VideoResult:
        if not video.samples:
            return self._blank(video, NO_FACE)
        rows = [video.probabilities[place] for place in range(len(video.samples))]
        if not all(np.isfinite(row).all() for row in rows):
            error = "a model gave a score that is not a number; if this is not fp32 yet, try --precision fp32"
            return self._blank(video, FAILED, error)
        result = self._blank(video, OK)
        result.at_face_limit = video.account.at_face_limit
        result.faces = [
            sample.scored(row.tolist(), video.account.info) for sample, row in zip(video.samples, rows, strict=True)
        ]
        apply_verdict(result, self.pipeline.verdict)
        return result


def apply_verdict(result: VideoResult, verdict: GiveVerdict) -> None:
    """Set the scores of a video from those of its samples."""
    given = verdict(result.faces)
    result.score, result.model_scores = given.score, given.model_scores


def _describe(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).strip()
