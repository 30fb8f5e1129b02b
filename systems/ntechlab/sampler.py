"""The samples of a video: faces that were followed, as single images and as sequences of seven.

The video is read twice: searched first, in about five frames a second, and then cut to images, so that memory does not
grow with its length. Detections that were recorded elsewhere spare the first time.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from faces.search import search
from faces.video import VideoFrames, iter_frames
from runtime.memory import MemoryBudget
from systems.ntechlab.detections import NO_FACES, Detections, RecordedDetections, find_recorded
from systems.ntechlab.frames import InputMaker, KeptFrames, ModelInput, find_tracks, keep_frames, plan_inputs
from systems.sample import Account, Sample


class TrackSampler:
    """As `systems.sample.Sampler`. `models` is each role's place among the models of the run; what is for a role that
    is not there is left out. `detect` finds faces in uint8 RGB frames, `most` at a time; `recorded` are detections by
    the name of the video's file, which are taken instead where they are given."""

    def __init__(
        self,
        models: Mapping[str, int],
        *,
        detect: Callable[[Sequence[np.ndarray]], list[Detections]],
        most: int,
        memory: MemoryBudget,
        recorded: Mapping[str, RecordedDetections] | None = None,
    ):
        self._models = models
        self._detect, self._most, self._memory = detect, most, memory
        self._recorded = recorded

    def samples(self, path: str, account: Account) -> Iterator[Sample]:
        """As `systems.sample.Sampler.samples`."""
        frames = searched_frames(path)
        info = frames.look()
        kept = keep_frames(info.frame_count, info.rate)
        account.frames_wanted, account.info = info.wanted, info
        detections = self._found(path, frames, kept, account)
        account.notes = [*info.notes, *([kept.note] if kept.note else [])]  # decoded frames have told theirs
        tracks = find_tracks(detections)
        planned = [each for each in plan_inputs(tracks, info.width, info.height) if each.role in self._models]
        maker = InputMaker(planned, kept.frames)
        if planned:
            yield from self._made(path, maker, kept, account)

    def _found(self, path: str, frames: VideoFrames, kept: KeptFrames, account: Account) -> list[Detections]:
        """The detections of each searched frame, none of one that can't be read."""
        if self._recorded is not None:
            next(frames)  # the first frame alone tells whether the video is shown turned
            account.frames = len(kept.searched)
            account.last_frame = kept.searched[-1]
            return find_recorded(self._recorded, path, (frames.info.width, frames.info.height), kept.searched)
        pixels = frames.info.width * frames.info.height
        found = {}
        for index, _, detections in search(frames, self._detect, pixels=pixels, most=self._most, memory=self._memory):
            account.looked_at(index)
            found[index] = detections
        return [found.get(index, NO_FACES) for index in kept.searched]

    def _made(self, path: str, maker: InputMaker, kept: KeptFrames, account: Account) -> Iterator[Sample]:
        for index, frame in iter_frames(path, lambda count: maker.source_frames):
            account.check_stopped()
            for model_input, images in maker.feed(index, frame):
                yield self._sample(model_input, images if images.ndim == 4 else images[None], kept)

    def _sample(self, model_input: ModelInput, pixels: np.ndarray, kept: KeptFrames) -> Sample:
        return Sample(
            pixels=pixels,
            frames=tuple(kept.frames[number] for number in model_input.frames),
            track=model_input.track,
            bbox=tuple(model_input.corners),
            detector_score=None,
            flipped=model_input.flip,
            model=self._models[model_input.role],
            role=model_input.role,
            step=kept.step,
        )


def searched_frames(path: str | os.PathLike) -> VideoFrames:
    """The frames of a video in which faces are searched."""
    frames = iter_frames(path, lambda count: keep_frames(count, frames.info.rate).searched)
    return frames
